from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.intent.merge import Layer, Layers, cycles, lineage, merge
from tasks.mistakes import Place

CASES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "cases" / "intent_merge.yaml").read_text()
)
KEYS = st.sampled_from("abc")
LEAVES = st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2)
DATA = st.dictionaries(
    KEYS, st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3)), max_size=3
)


def layers(*data: dict[str, Any]) -> Layers:
    return Layers([Layer(Place(f"layer {n}"), {"data": d}) for n, d in enumerate(data)])


@pytest.mark.parametrize("name", CASES["cases"])
def test_merge(name: str) -> None:
    case = CASES["cases"][name]
    before = copy.deepcopy(case["layers"])
    assert layers(*case["layers"]).data == case["merged"]
    assert case["layers"] == before


@pytest.mark.parametrize("name", CASES["lineages"])
def test_lineage(name: str) -> None:
    case = CASES["lineages"][name]
    assert list(lineage(case["groups"], case["parents"])) == case["order"]


def test_each_circle_once() -> None:
    parents = {"a": ["b"], "b": ["c", "a"], "c": [], "d": ["d"]}
    assert cycles(parents) == [("a", "b", "a"), ("d", "d")]


def test_bridge_and_profile_stay_with_their_groups() -> None:
    merged = layers({"bridge": {"nic": "x"}, "site": "ams"}, {"profile": {"root": "x"}})
    assert merged.data == {"site": "ams"}


def test_place_is_the_highest_layer_that_wrote_the_value() -> None:
    merged = layers({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}}, {"b": 1})
    assert merged.place("a", "x").file == "layer 0"
    assert merged.place("a", "y").file == "layer 1"
    assert merged.place("a", "z").file == "layer 1"  # where one would add it
    assert merged.place("c").file == "layer 2"


def leaf(data: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(data, dict) or key not in data:
            return None
        data = data[key]
    return None if isinstance(data, dict) else data


def paths(data: dict[str, Any]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in data.items():
        if isinstance(value, dict):
            found += [(key, *path) for path in paths(value)]
        else:
            found.append((key,))
    return found


@given(DATA, DATA)
def test_all_that_the_higher_layer_says_holds(
    lower: dict[str, Any], higher: dict[str, Any]
) -> None:
    merged = merge(lower, higher)
    assert all(leaf(merged, path) == leaf(higher, path) for path in paths(higher))


@given(DATA, DATA)
def test_nothing_is_invented(lower: dict[str, Any], higher: dict[str, Any]) -> None:
    merged = merge(lower, higher)
    for path in paths(merged):
        assert leaf(merged, path) in (leaf(higher, path), leaf(lower, path))


@given(DATA, DATA, DATA)
def test_merging_again_with_what_has_won_changes_nothing(
    a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]
) -> None:
    merged = merge(merge(a, b), c)
    assert merge(merged, c) == merged


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4)))
def test_lineage_ends_and_holds_each_known_group_once(parents: dict[str, list[str]]) -> None:
    order = lineage(list("abcdef"), parents)
    assert sorted(order) == sorted(parents)
