"""Imports point one way, and optional packages stay at the edge."""

import ast
from pathlib import Path

import pytest

import session_attachments

# A module may import from the layers above its own, never from below or beside.
LAYERS = [
    ["__init__"],
    ["conf", "exceptions", "signals", "sniffing"],
    ["contention", "names"],
    ["storage"],
    ["models"],
    ["access", "limits", "validators"],
    ["sweep"],
    ["store"],
    ["claims"],
    ["bundles"],
    ["submissions"],
    [
        "bodies",
        "csrf",
        "downloads",
        "middleware",
        "responses",
        "widgets",
        "workflow",
    ],
    [
        "forms",
        "images",
        "preconditions",
        "redirects",
        "sendfile",
        "streaming",
    ],
    ["downsampling"],
    ["views"],
    ["owned_urls", "urls"],
    # Shells, which Django, Celery and the command line find by themselves.
    [
        "admin",
        "background_tasks",
        "checks",
        "context_processors",
        "management.commands.remove_outdated_attachments",
        "receivers",
        "tasks",
        "testing",
    ],
    ["apps"],
]
# What not every installation has, and the one module that may import it.
OPTIONAL = {
    "celery": "tasks",
    "django.tasks": "background_tasks",
    "django_sendfile": "sendfile",
    "PIL": "images",
}

PACKAGE = session_attachments.__name__
ROOT = Path(session_attachments.__file__).parent
LAYER_OF = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"), path.name)
    for path in sorted(ROOT.rglob("*.py"))
    if "migrations" not in path.parts
    and (path.name != "__init__.py" or path.parent == ROOT)
}


def imports(tree, module=""):
    """Every module, absolute, that the tree imports, inside functions too."""
    package = [PACKAGE, *module.split(".")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else []
            start = ".".join([*base, *filter(None, [node.module])])
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)


def own_imports(name):
    """The modules of the package that a module of it imports."""
    for imported in imports(MODULES[name], name):
        target = imported.removeprefix(f"{PACKAGE}.")
        if target != imported and target in MODULES:
            yield target


def is_part_of(imported, package):
    return f"{imported}.".startswith(f"{package}.")


def test_layers__name_every_module_once():
    named = [name for layer in LAYERS for name in layer]
    assert sorted(named) == sorted(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_layers__imports_point_up(name):
    assert [
        target for target in own_imports(name) if LAYER_OF[target] >= LAYER_OF[name]
    ] == []


def test_init__imports_nothing():
    assert list(imports(MODULES["__init__"])) == []


@pytest.mark.parametrize(("package", "leaf"), OPTIONAL.items())
def test_optional_package__has_one_leaf(package, leaf):
    importers = {
        name
        for name, tree in MODULES.items()
        if any(is_part_of(imported, package) for imported in imports(tree, name))
    }
    assert importers == {leaf}


@pytest.mark.parametrize("name", MODULES)
def test_import__of_another_package_is_never_tried(name):
    assert [
        imported
        for node in ast.walk(MODULES[name])
        if isinstance(node, ast.Try)
        for imported in imports(node, name)
        if not is_part_of(imported, PACKAGE)
    ] == []
