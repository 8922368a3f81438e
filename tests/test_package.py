"""The wheel, in an environment that holds nothing else."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "session_attachments"

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("package")]

SITE_SETTINGS = """
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.sessions", "session_attachments",
]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
ROOT_URLCONF = "session_attachments.urls"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}
}
MEDIA_ROOT = "media"
USE_TZ = True
"""

VISIT = """
import django, io
django.setup()
from django.test import Client
visitor = Client()
print(visitor.post("/foo/", {"file": io.BytesIO(b"spam\\n")}).status_code)
[item] = visitor.get("/foo/").json()
print(b"".join(visitor.get("/foo/%s/" % item["name"]).streaming_content))
"""

# Hide the system's libmagic from the loader and from its cache, then go on.
WITHOUT_LIBMAGIC = r"""
set -e
PATH=$PATH:/usr/sbin:/sbin
for library in $(ldconfig -p | sed -n 's|.*libmagic\.so.* => ||p'); do
    mount --bind /dev/null "$library"
done
ldconfig -C "$0"
mount --bind "$0" /etc/ld.so.cache
exec "$@"
"""

SNIFF = r"""
import ctypes.util
assert ctypes.util.find_library("magic") is None
from session_attachments.sniffing import sniff
png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"
print(sniff(png))
with open("/proc/self/maps") as maps:
    print({line.split()[-1] for line in maps if "libmagic.so" in line})
"""


# Variables by which this test run would reach into the other environment; the last
# three are set by pylibmagic, where this run needs it.
FOREIGN = (
    "DJANGO_SETTINGS_MODULE",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "MAGIC",
)


def run(*command, cwd=None, **environment):
    """What the command prints; when it fails, the test does and shows it."""
    kept = {k: v for k, v in os.environ.items() if k not in FOREIGN} | environment
    done = subprocess.run(
        command,
        cwd=cwd,
        env=kept,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(*command, done.stdout, sep="\n")
    assert done.returncode == 0
    return done.stdout


# What is no part of the project's source, as `.gitignore` has it.
LEFT = ("build", "dist", "var", "screenshots", "node_modules", "__pycache__")
no_source = shutil.ignore_patterns(".*", "*.egg-info", *LEFT)


def build(kind, tmp_path_factory):
    """The one file that is built, from a copy: nothing left in `build/` gets in."""
    source = tmp_path_factory.mktemp("source") / "project"
    shutil.copytree(ROOT, source, ignore=no_source)
    target = tmp_path_factory.mktemp("dist")
    options = (f"--{kind}", "--no-isolation", f"--outdir={target}")
    run(sys.executable, "-m", "build", *options, str(source))
    [path] = target.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", tmp_path_factory)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build("sdist", tmp_path_factory)


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of an environment with the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", str(folder))
    interpreter = str(folder / "bin" / "python")
    run(interpreter, "-m", "pip", "install", "--quiet", str(wheel))
    return interpreter


@pytest.fixture
def manage(python, tmp_path):
    """Run a management command, or with "-c" a script, of a site that has the app."""
    (tmp_path / "site_settings.py").write_text(SITE_SETTINGS)

    def call(*arguments):
        how = () if arguments[0] == "-c" else ("-m", "django")
        return run(
            python,
            *how,
            *arguments,
            cwd=tmp_path,
            DJANGO_SETTINGS_MODULE="site_settings",
        )

    return call


def test_wheel__holds_every_file_of_the_package(wheel):
    with ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert shipped == {
        str(path.relative_to(ROOT))
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_sdist__holds_the_whole_project(sdist, tmp_path):
    """Tests, demo and documentation too: what it says can be done, can be done."""
    source = shutil.copytree(ROOT, tmp_path / "project", ignore=no_source)
    project = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    with tarfile.open(sdist) as archive:
        names = [Path(*Path(each.name).parts[1:]) for each in archive if each.isfile()]
    shipped = {name for name in names if f"{PACKAGE}.egg-info" not in str(name)}
    assert shipped == project | {Path("PKG-INFO"), Path("setup.cfg")}


def test_wheel__holds_the_licence(wheel):
    with ZipFile(wheel) as archive:
        assert any(name.endswith("/LICENSE") for name in archive.namelist())


def test_wheel__is_named_like_the_project(wheel):
    from session_attachments import __version__

    assert wheel.name.startswith(f"django_session_attachments-{__version__}-py3-none")


def test_installed__migrates_and_has_no_changes_left(manage):
    assert "Applying session_attachments.0001" in manage("migrate", "--no-color")
    assert "No changes" in manage("makemigrations", "--check", "--dry-run")


def test_installed__has_the_command(manage):
    assert "--older-than" in manage("remove_outdated_attachments", "--help")


def test_installed__stores_and_serves_a_file(manage):
    manage("migrate", "--verbosity=0")
    assert manage("-c", VISIT).splitlines() == ["200", r"b'spam\n'"]


def test_installed__brings_libmagic(python, tmp_path):
    # Root may mount; anybody else may where they are root of their own namespace.
    become_root = () if os.geteuid() == 0 else ("--map-root-user",)
    isolated = ("unshare", *become_root, "--mount")
    try:
        subprocess.run([*isolated, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("cannot mount: unshare or the right to use it is missing")
    mask = ("sh", "-c", WITHOUT_LIBMAGIC, str(tmp_path / "ld.so.cache"))
    found = run(*isolated, *mask, python, "-c", SNIFF, cwd=tmp_path).splitlines()
    assert found[-2] == "image/png"
    assert "/pylibmagic/libmagic.so" in found[-1]
