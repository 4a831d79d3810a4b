import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwn_vocoder.config import Config, dump_yaml, parse_yaml, read_yaml, validate, write_yaml
from fwn_vocoder.errors import ConfigError


class Inner(Config):
    rate: float = 1.0


class Outer(Config):
    steps: int = 1
    inner: Inner = Inner()


def test_exponents_are_numbers():
    assert parse_yaml("a: 1e-3\nb: 1.5E+3\nc: .5\nd: 2", "x") == {
        "a": 1e-3,
        "b": 1500.0,
        "c": 0.5,
        "d": 2,
    }


def test_duplicate_keys_are_errors():
    with pytest.raises(ConfigError, match="duplicate key 'a'"):
        parse_yaml("a: 1\na: 2", "file.yaml")


def test_code_is_not_executed(tmp_path):
    marker = tmp_path / "marker"
    text = f"a: !!python/object/apply:os.system ['touch {marker}']"
    with pytest.raises(ConfigError, match="not a valid YAML"):
        parse_yaml(text, "evil.yaml")
    assert not marker.exists()


@pytest.mark.parametrize("text", ["- 1", "just text", ""])
def test_only_mappings(text):
    with pytest.raises(ConfigError, match="expected a mapping"):
        parse_yaml(text, "x")


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        read_yaml(tmp_path / "none.yaml")


def test_all_errors_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        validate(Outer, {"step": 3, "inner": {"rat": 1}, "steps": "x"}, "exp.yaml")
    message = str(caught.value)
    assert "step: unknown key; did you mean 'steps'? Allowed: inner, steps" in message
    assert "inner.rat: unknown key; did you mean 'rate'? Allowed: rate" in message
    assert "steps: Input should be a valid integer" in message


def test_configurations_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Outer().steps = 2


def test_write_and_read(tmp_path):
    data = {"b": [1, 2.5, None], "a": {"x": "ü"}}
    write_yaml(tmp_path / "x.yaml", data)
    assert read_yaml(tmp_path / "x.yaml") == data
    assert list(read_yaml(tmp_path / "x.yaml")) == ["b", "a"]


@given(
    st.dictionaries(
        st.text(
            st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1
        ),
        st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans(),
        min_size=1,
    )
)
def test_numbers_survive_a_round_trip(data):
    assert parse_yaml(dump_yaml(data), "x") == data


@given(st.text())
def test_any_text_is_a_mapping_or_a_clean_error(text):
    try:
        assert isinstance(parse_yaml(text, "x"), dict)
    except ConfigError:
        pass
