"""The circuit diagram: every mark stands for its number, text is escaped, nothing is cut off."""

import xml.etree.ElementTree as ET

import pytest

from induction.base import InputError
from induction.circuit.results import Circuit, Composition, Copying, Example, PathEffect, Paths, Receiver
from induction.viz import circuit as viz
from induction.viz import svg
from induction.viz.theme import PAGE

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>"


def made_up(n_layers=2, n_heads=4, receivers=((1, 1), (1, 2)), previous=((0, 2),)) -> Circuit:
    """Head 0.2 feeds all receivers through keys with .5, .25, ...; head 0.0 only composes; 0.3 does nothing."""

    def grid(layers, value=0.0):
        return [[value] * n_heads for _ in range(layers)]

    def receiver(number, layer, head):
        place = {"layer": layer, "head": head}
        keys, composed = grid(layer), grid(layer, 0.05)
        keys[0][2] = 0.5 / (number + 1)
        composed[0][0] = 0.4
        bounds = {"low": grid(layer, -0.1), "high": grid(layer, 0.1), "whole": 0.6}
        effects = {
            through: dict.fromkeys(("attention", "answer"), PathEffect(mean=mean, **bounds))
            for through, mean in (("q", grid(layer)), ("k", keys), ("v", grid(layer)))
        }
        ends = {"clean": {"attention": 0.9, "answer": 8.0}, "corrupted": {"attention": 0.0, "answer": 0.0}}
        how = {"direction": "denoise", "mlps": "frozen", "protocol": "made up", "seed": 0}
        random = {"kind": "computed", "origin": "made up", "definition": "norms", "baseline": 0.1}
        return Receiver(
            **place,
            composition=Composition(
                **place, **random, measured=dict.fromkeys("qkv", composed), baseline_deviation=0.01
            ),
            paths=Paths(**place, **how, **ends, effects=effects),
            copying=Copying(top1=0.5, top5=0.9, eigenvalue=0.8, n_tokens=100, definition="W_E"),
        )

    kinds = [["none"] * n_heads for _ in range(n_layers)]
    for heads, kind in ((previous, "previous_token"), (receivers, "induction")):
        for layer, head in heads:
            kinds[layer][head] = kind
    names = ("induction", "previous_token", "duplicate_token", "first_token")
    tokens = ["<bos>", "x", "A", HOSTILE, "y", "z", "A"]
    looks = {"step_back": grid(n_layers), "step_on": grid(n_layers)}
    return Circuit(
        model="made-up",
        n_layers=n_layers,
        n_heads=n_heads,
        origin="made up",
        scan_protocol="made up",
        protocol="made up",
        scores={name: grid(n_layers) for name in names},
        direct=grid(n_layers),
        kinds=kinds,
        receivers=[receiver(number, *place) for number, place in enumerate(receivers)],
        example=Example(tokens=tokens, first_a=2, first_b=3, answer=HOSTILE, **looks),
    )


def marks(text, attribute):
    """Elements of a figure that carry ``attribute``, by its value."""
    return {e.get(attribute): e for e in ET.fromstring(text).iter() if e.get(attribute)}


def stroke_of(text, name):
    """Widths of the visible lines that belong to an edge: those with the same end as its invisible hit area."""
    root = ET.fromstring(text)
    hit = next(e for e in root.iter() if e.get("data-edge") == name)
    lines = [e for e in root.iter(f"{SVG}path") if e.get("d") == hit.get("d") and e is not hit]
    return [float(line.get("stroke-width")) for line in lines]


def test_edges_are_as_wide_as_their_effect():
    text = viz.diagram(made_up())
    assert set(marks(text, "data-head")) == {"0.0", "0.2", "1.1", "1.2"}
    assert set(marks(text, "data-edge")) == {"0.2>1.1", "0.2>1.2", "0.0>1.1", "0.0>1.2"}
    assert stroke_of(text, "0.2>1.1") == [viz.WIDEST]
    assert stroke_of(text, "0.2>1.2") == [viz.WIDEST / 2]
    assert stroke_of(text, "0.0>1.1") == []  # composes, and feeds nothing
    tip = marks(text, "data-edge")["0.2>1.1"].get("data-tip")
    assert "+0.500" in tip
    assert "composition 0.050 (random 0.100)" in tip


def test_senders_are_left_and_receivers_right():
    heads = marks(viz.diagram(made_up()), "data-head")
    left, right = (
        {float(heads[name].get("x")) for name in names} for names in (("0.0", "0.2"), ("1.1", "1.2"))
    )
    assert max(left) < min(right)


@pytest.mark.parametrize("n_layers", [2, 30])
def test_everything_is_inside_and_no_heads_overlap(n_layers):
    receivers = [(n_layers - 1, head) for head in range(4)]
    previous = [(0, 2), *((layer, 5) for layer in range(n_layers - 1))]
    text = viz.diagram(made_up(n_layers, 9, receivers, previous))
    root = ET.fromstring(text)
    width, height = (float(root.get(side)) for side in ("width", "height"))
    for rect in root.iter(f"{SVG}rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        assert 0 <= x <= x + float(rect.get("width")) <= width
        assert 0 <= y <= y + float(rect.get("height")) <= height
    boxes = [(float(e.get("x")), float(e.get("y"))) for e in marks(text, "data-head").values()]
    assert len(boxes) <= viz.SENDERS + 4
    for x, y in boxes:
        assert all(
            other == (x, y) or other[0] != x or abs(other[1] - y) >= viz.NODE_HEIGHT for other in boxes
        )


def test_tokens_are_text_and_never_markup():
    text = viz.diagram(made_up())
    assert "<script" not in text
    assert HOSTILE in {e.get("data-tip", "").removeprefix("token ") for e in ET.fromstring(text).iter()}


def test_the_selected_edge_is_marked_in_any_palette():
    text = viz.diagram(made_up(), palette=PAGE, selected="0.2>1.2")
    chosen = [e for e in ET.fromstring(text).iter(f"{SVG}path") if e.get("stroke") == PAGE.selected]
    assert any(e.get("stroke-opacity") == "1" for e in chosen)
    assert "#" not in text.replace("&#", "")  # every colour follows the page


def test_no_receiver_no_diagram():
    none = made_up(receivers=())
    with pytest.raises(InputError, match="no circuit to draw"):
        viz.diagram(none)
    with pytest.raises(InputError, match="has one layer: no head is earlier"):
        viz.diagram(none.model_copy(update={"n_layers": 1}))
    with pytest.raises(InputError, match="q, k, v"):
        viz.diagram(made_up(), through="z")


def test_the_caption_carries_the_protocol():
    text = viz.diagram(made_up())
    assert "made up" in marks(text, "data-caption").popitem()[0]
    assert float(ET.fromstring(text).get("width")) == svg.WIDTH


def test_columns_and_cards_are_named_by_what_their_heads_are():
    def texts(circuit):
        return [e.text for e in ET.fromstring(viz.diagram(circuit)).iter(f"{SVG}text")]

    mixed = texts(made_up())  # 0.0 composes and is no previous-token head
    assert {"Earlier heads", "Induction heads", "no kind", "previous 0.00"} <= set(mixed)
    assert any("neither previous-token nor induction" in text for text in mixed)
    pure = made_up()
    for receiver in pure.receivers:
        for grid in receiver.composition.measured.values():
            grid[0][0] = 0.0
    assert "Previous-token heads" in texts(pure)
    assert not any("neither" in text for text in texts(pure))
