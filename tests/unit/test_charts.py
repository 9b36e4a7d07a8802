"""Charts as SVG: well-formed, round marks, every point inside its panel."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from chunkstore_cli.charts import PANEL_HEIGHT, PANEL_WIDTH, Panel, Series, html, log_ticks, svg, ticks


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1.0, 1.0), (0, 0), (3.2, 97.5), (1e-4, 2e-4), (5e8, 7e8), (-3, 12)])
def test_ticks_are_few_and_reach_around_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 8
    assert found[0] <= low + 1e-9
    assert found[-1] >= high - 1e-9
    assert found == sorted(set(found))


@pytest.mark.parametrize(("low", "high"), [(1, 1), (1, 2), (3, 900), (1, 2**40), (0.5, 0.7)])
def test_logarithmic_ticks_are_few_and_reach_around_the_values(low: float, high: float) -> None:
    found = log_ticks(low, high)
    assert 2 <= len(found) <= 8
    assert found[0] <= low
    assert found[-1] >= high


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("points", [(), ((4.0, 7.0),), ((1.0, 3.0), (1024.0, 99.0), (2.0, 3.0))])
def test_a_picture_is_well_formed_and_holds_every_point(
    points: tuple[tuple[float, float], ...], logarithmic: bool
) -> None:
    panel = Panel("<title> & more", "x", (Series("a&b", points), Series("c", ())), str, str, logarithmic)
    picture = svg("all of <it>", [panel, panel, panel])
    root = ElementTree.fromstring(picture)
    circles = [each for each in root.iter() if each.tag.endswith("circle")]
    assert len(circles) == 3 * len(points)
    for circle in circles:
        assert 0 < float(circle.get("cx", "")) < PANEL_WIDTH
        assert 0 < float(circle.get("cy", "")) < PANEL_HEIGHT
    assert "all of &lt;it&gt;" in html("t", picture, ["<remark>"])
