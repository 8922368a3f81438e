import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import global_settings
from django.core.exceptions import ImproperlyConfigured

from session_attachments.conf import Conf, Setting, conf, duration

SETTINGS = list(Conf.settings())
NAMES = [setting.name for setting in SETTINGS]


class frozendict(dict):  # noqa: N801
    """A dict that can be the key of another."""

    def __hash__(self):
        return hash(tuple(self.items()))


# For every setting: what a site may write, and what the package reads.
READ = {
    "max_file_size": {0: 0, 1: 2**20, 0.5: 2**19, 50: 52_428_800, None: None},
    "max_files": {0: 0, 7: 7, None: None},
    "max_session_size": {0: 0, 1: 2**20, 1.5: 1_572_864, None: None},
    "max_site_size": {0: 0, 1: 2**20, 2**43 - 1: 2**63 - 2**20, None: None},
    "min_free_space": {0: 0, 1: 2**20, 0.25: 2**18},
    "allowed_types": {("image/*",): ("image/*",), (): (), None: None},
    "validators": {("a.b", "c.d"): ("a.b", "c.d"), (): ()},
    "storages": {
        ("a", "b"): {"a": ("builtins.OSError",), "b": ("builtins.OSError",)},
        (): {},
    },
    "storage_chooser": {"a.b": "a.b", None: None},
    "metadata": {"a.b": "a.b", None: None},
    "sha256": {True: True, False: False},
    "downloads": {"stream": "stream", "a.b": "a.b"},
    "downsamplers": {
        frozendict({"image/*": "a.b"}): {"image/*": "a.b"},
        frozendict(): {},
    },
    "maintenance": {True: True, False: False, "read-only": "read-only"},
    "access_checks": {("a.b",): ("a.b",), (): ()},
    "staff_bypass": {True: True, False: False},
    "url_namespace": {"": "", "a": "a"},
    "lifetime": {2: timedelta(2), 0.5: timedelta(hours=12), 36_500: timedelta(36_500)},
    "upload_lease": {900: timedelta(minutes=15), 0.5: timedelta(milliseconds=500)},
    "grace": {30: timedelta(seconds=30), 0.5: timedelta(milliseconds=500)},
    "request_timeout": {86_400: timedelta(1), 3_153_600_000: timedelta(36_500)},
}

NUMBERS_NEVER = ["50", "", True, -1, -0.5, float("nan"), float("inf"), [], 10**400]
STRINGS_NEVER = ["image/*", [1], ["a", None], {"a": 1}, 1, True, {"a"}]
DURATIONS_NEVER = [*NUMBERS_NEVER, None, 0, timedelta(1)]
SIZES_NEVER = [*NUMBERS_NEVER, 2**43, 1e308]

# For every setting: what a site may not write.
REFUSED = {
    "max_file_size": SIZES_NEVER,
    "max_files": ["7", 7.0, True, -1, 1.5, float("inf"), []],
    "max_session_size": SIZES_NEVER,
    "max_site_size": SIZES_NEVER,
    "min_free_space": [*SIZES_NEVER, None],
    "allowed_types": STRINGS_NEVER,
    "validators": [*STRINGS_NEVER, None],
    "storages": [*STRINGS_NEVER[:3], 1, True, None, {"a": "b"}, {1: []}],
    "storage_chooser": [1, True, ["a.b"]],
    "metadata": [1, True, ["a.b"]],
    "sha256": ["True", 1, None],
    "downloads": [1, None, ["stream"]],
    "downsamplers": ["a.b", ["a.b"], {"a": 1}, {1: "a"}, None],
    "maintenance": [1, None, ["read-only"]],
    "access_checks": [*STRINGS_NEVER, None],
    "staff_bypass": ["True", 1, None],
    "url_namespace": [1, None, ["a"]],
    "lifetime": [*DURATIONS_NEVER, 36_501],
    "upload_lease": [*DURATIONS_NEVER, 3_153_600_001],
    "grace": [*DURATIONS_NEVER, 3_153_600_001],
    "request_timeout": [*DURATIONS_NEVER, 3_153_600_001],
}


def attribute(setting):
    return setting.name.removeprefix("SESSION_ATTACHMENTS_").lower()


def pairs(table):
    return [
        pytest.param(name, value, id=f"{name}-{value!r:.20}")
        for name, values in table.items()
        for value in values
    ]


def test_settings__are_all_tested():
    attributes = [attribute(setting) for setting in SETTINGS]
    assert list(READ) == list(REFUSED) == attributes


@pytest.mark.parametrize("setting", SETTINGS, ids=NAMES)
def test_setting__has_a_default_that_it_accepts(settings, setting):
    assert not hasattr(settings, setting.name)
    assert setting.accepted
    assert setting.raw == setting.default
    assert getattr(conf, attribute(setting)) == setting.unit.read(setting.default)


@pytest.mark.parametrize(("name", "value"), pairs(READ))
def test_setting__is_read_in_its_unit(settings, name, value):
    setattr(settings, getattr(Conf, name).name, value)
    read = getattr(conf, name)
    assert read == READ[name][value]
    assert type(read) is type(READ[name][value])
    assert getattr(Conf, name).accepted


@pytest.mark.parametrize("setting", SETTINGS, ids=NAMES)
def test_setting__is_read_on_every_use(settings, setting):
    found = []
    for value, _ in READ[attribute(setting)].items():
        setattr(settings, setting.name, value)
        found.append(getattr(conf, attribute(setting)))
    assert len(set(map(repr, found))) == len(found) > 1
    delattr(settings, setting.name)
    assert getattr(conf, attribute(setting)) == setting.unit.read(setting.default)


@pytest.mark.parametrize(("name", "value"), pairs(REFUSED))
def test_setting__of_a_wrong_type_is_never_used(settings, name, value):
    setting = getattr(Conf, name)
    setattr(settings, setting.name, value)
    assert not setting.accepted
    with pytest.raises(ImproperlyConfigured) as refusal:
        getattr(conf, name)
    assert setting.name in str(refusal.value)
    assert setting.unit.name in str(refusal.value)


@pytest.mark.parametrize("value", [["a/b"], ("a/b",)])
def test_strings__may_be_a_list_or_a_tuple(settings, value):
    settings.SESSION_ATTACHMENTS_ALLOWED_TYPES = value
    assert conf.allowed_types == ("a/b",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, timedelta(days=2)),
        (0, timedelta()),
        (0.5, timedelta(hours=12)),
        ("2", timedelta(days=2)),
        ("0", timedelta()),
        ("1.5d", timedelta(hours=36)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("45s", timedelta(seconds=45)),
        ("36500", timedelta(days=36_500)),
    ],
)
def test_duration__is_read(value, expected):
    assert duration(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("", "x", "nan", "inf", "H", "-1", "1w", "1 d", "1d2h", "1,5", "1e3", "2\n"),
        *(".5", "5.", "\N{ARABIC-INDIC DIGIT THREE}"),
        *(-1, None, True, float("nan"), float("inf"), timedelta(1)),
    ],
)
def test_duration__says_what_it_does_not_understand(value):
    with pytest.raises(ValueError, match=r"is not a duration.*12h"):
        duration(value)


@pytest.mark.parametrize("value", [36_501, "36500.1", 10**40, "9" * 400, "876001h"])
def test_duration__stays_in_the_calendar(value):
    with pytest.raises(ValueError, match="is too long"):
        duration(value)


TEXT = (Path(__file__).parent.parent / "docs" / "settings.md").read_text("utf-8")


def test_documentation__has_every_setting():
    """Name, unit, default and meaning are written once; here they are copied."""
    rows = re.findall(r"^\| `SESSION_ATTACHMENTS_.*", TEXT, re.MULTILINE)
    assert rows == [line(setting) for setting in SETTINGS]


def test_documentation__of_djangos_settings_knows_their_defaults():
    table = TEXT.partition("## Settings of Django that matter here\n")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert [name for name in rows if not hasattr(global_settings, name)] == []
    for name in "DATA_UPLOAD_MAX_NUMBER_FIELDS", "DATA_UPLOAD_MAX_NUMBER_FILES":
        assert f" {getattr(global_settings, name)} " in rows[name]


def line(setting: Setting):
    cells = [f"`{setting.name}`", setting.unit.name, f"`{setting.default!r}`"]
    return f"| {' | '.join([*cells, setting.__doc__])} |"
