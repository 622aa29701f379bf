"""Reports: one file, nothing from elsewhere, everything escaped; pictures that show what they were given."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from eventflow.bench import _plots, _report
from eventflow.errors import InputError
from eventflow.tpp import qq_exponential

matplotlib = pytest.importorskip("matplotlib", reason="pictures need the extra 'viz'")

VOID = {"meta", "br", "img", "link", "input", "hr"}


class _Balanced(HTMLParser):
    """Fails on a tag that is not closed, or closed twice."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def _figures() -> dict:
    rng = np.random.default_rng(0)
    t = np.linspace(0, 10, 50)
    return {
        "curve": _plots.learning_curve({"train": ([0, 1, 2], [3.0, 2.5, 2.2])}, references={"truth": 2.0}),
        "intensity": _plots.intensity_over_time(
            t, {"truth": np.ones((50, 2)), "NHP": np.ones((50, 2)) * 1.1}, events=([1.0, 2.0, 7.0], [0, 1, 1]),
            names=["post", "reply"], unit="min",
        ),
        "qq": _plots.calibration({"NHP": qq_exponential(rng.exponential(size=300))}),
        "bars": _plots.bars(
            {"NHP": -0.4, "Poisson": 0.6}, errors={"NHP": 0.02}, xlabel="nll", references={"truth": -0.5}
        ),
    }  # fmt: skip


def _document() -> str:
    pictures = [_report.figure(_plots.to_svg(f, name=name), f"the {name}") for name, f in _figures().items()]
    blocks = [
        _report.paragraph("a < b & c", note=True),
        _report.facts([("1.0 < 2", "a number")]),
        _report.verdict(True, "it holds"),
        _report.table(["name", "nll", "n"], [("NHP", -1.23456, 3), ("<b>", None, 4)], strong=["NHP"]),
        _report.commands([("train", "eventflow fit --data <x>")]),
    ]
    return _report.page("T & T", "what one sees", [_report.section("S", *blocks, *pictures)], footer="made here")


def test_page_is_well_formed_and_self_contained():
    document = _document()
    parser = _Balanced()
    parser.feed(document)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids)), "ids of several pictures on one page must not clash"
    assert all(address.startswith(("#", "data:")) for address in parser.addresses)
    inside = {address[1:] for address in parser.addresses if address.startswith("#")}
    inside |= set(re.findall(r"url\(#([^)]+)\)", document))
    assert inside and inside <= set(parser.ids), "references inside pictures must lead somewhere"
    loaded = re.findall(r"@import|<script|<link|url\((?!#)", document)
    assert loaded == []


def test_text_is_escaped_and_numbers_are_shown():
    document = _document()
    assert "a &lt; b &amp; c" in document and "<b></td>" not in document
    assert "<td>&lt;b&gt;</td><td>–</td><td>4</td>" in document
    assert '<tr class="strong"><td>NHP</td><td>−1.235</td><td>3</td></tr>' in document
    assert "eventflow fit --data &lt;x&gt;" in document


def test_pictures_follow_the_pages_colours():
    for name, figure in _figures().items():
        svg = _plots.to_svg(figure, name=name)
        assert svg.startswith("<svg") and "viewBox" in svg and "currentColor" in svg and "var(--series-0)" in svg
        assert not re.search("|".join([_plots.INK, *_plots.SERIES]), svg), "a colour that would not turn with the theme"
        assert "<text" in svg and "<image" not in svg


def test_pictures_are_the_same_every_time():
    first, second = ({k: _plots.to_svg(f, name=k) for k, f in _figures().items()} for _ in range(2))
    assert first == second


def test_pictures_show_their_data():
    figures = _figures()
    curve = figures["curve"].axes[0]
    np.testing.assert_array_equal(curve.lines[0].get_ydata(), [3.0, 2.5, 2.2])
    assert [text.get_text() for text in curve.get_legend().get_texts()] == ["train", "truth"]
    low, high = curve.get_ylim()
    assert low < 2.0 and high > 3.0
    panels = figures["intensity"].axes
    assert [p.get_title(loc="left") for p in panels] == ["post  (1 event)", "reply  (2 events)"]
    ticks = panels[1].collections[0].get_segments()
    assert [segment[0][0] for segment in ticks] == [2.0, 7.0]
    widths = [bar.get_width() for bar in figures["bars"].axes[0].patches]
    np.testing.assert_allclose(widths, [-0.4, 0.6])


def test_png_and_its_place_in_a_page(tmp_path):
    path = tmp_path / "curve.png"
    _plots.to_png(_figures()["curve"], path, dpi=60)
    assert path.read_bytes().startswith(b"\x89PNG")
    block = _report.figure(path, 'a "quoted" caption')
    assert "data:image/png;base64,iVBOR" in block and "&quot;quoted&quot;" in block


def test_the_callers_matplotlib_settings_stay():
    before = dict(matplotlib.rcParams)
    _figures()
    assert dict(matplotlib.rcParams) == before


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "report.html"
    _report.write("first", path)
    assert path.read_text() == "first"
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        _report.write("second", path)
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]


def test_mistakes_are_refused():
    with pytest.raises(InputError, match="2 cells, the header 1"):
        _report.table(["a"], [(1, 2)])
    with pytest.raises(InputError, match="neither <svg> text nor a Path"):
        _report.figure("picture.png", "x")
    with pytest.raises(InputError, match="no curve"):
        _plots.learning_curve({})
    with pytest.raises(InputError, match="no residuals"):
        _plots.calibration({})
    with pytest.raises(InputError, match="no value"):
        _plots.bars({}, xlabel="x")


def test_learning_curves_show_where_they_end() -> None:
    """A first epoch far above leaves the others in sight; every curve's end is in the picture."""
    pictures = {
        "diverged at first": [([1, 2, 3], [9e3, 1.0, 0.9])], "cut off": [([1, 2, 3], [1.5, 1.2, float("nan")])],
        "one epoch": [([1], [1.1])], "worst": [([1, 2], [1.3, 1.4])],
    }  # fmt: skip
    figure = _plots.panels(pictures, band=None, xlabel="epoch", ylabel="nll")
    low, high = figure.axes[0].get_ylim()
    assert low < 0.9 and 1.4 < high < 100
