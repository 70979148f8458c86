"""The result page in Chromium: opened from a disk, without a network, sorted, filtered, looked at."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from phantoms.batches import GRADE, NODULE, REFUSALS, chest, doubted, make_page, make_prediction, withheld
from phantoms.browsers import chromium
from phantoms.packages import FINDINGS, make_card
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from pipeline.domain.codes import Code
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.prediction import Prediction, ScopeVerdict
from pipeline.writers.csv import CsvWriter
from pipeline.writers.html.page import ResultPage
from pipeline.writers.page_content import CaseOnPage, PageContent, RefusalOnPage
from pipeline.writers.strips import Strips

COUNT, FRAMES, SIDE = 1000, 9, 64
MANY = 150_000
REASON = "spacing of 5 mm: training had 0.6 to 2.5"
TIE = make_prediction(1).findings
WALK = """
const [height, done] = arguments, scroll = document.getElementById('scroll'), names = [];
const soon = (what) => requestAnimationFrame(() => requestAnimationFrame(what));
scroll.style.maxHeight = height;
scroll.scrollTop = 0;
dispatchEvent(new Event('resize'));
function look() {
  for (const row of document.querySelectorAll('#cases tbody tr:not(.spacer)'))
    names[row.getAttribute('aria-rowindex') - 2] = row.dataset.case;
  const before = scroll.scrollTop;
  scroll.scrollTop += scroll.clientHeight * 0.9;
  if (scroll.scrollTop !== before) return soon(look);
  scroll.style.maxHeight = '';
  scroll.scrollTop = 0;
  soon(() => done(names));
}
soon(look);
"""
"""Scroll through the table, and tell the cases in the order in which they stand; in a high window this is quicker."""


def prediction(number: int) -> Prediction:
    """Some are withheld, some have notes that a spreadsheet would run, some are all equal."""
    if number % 10 == 3:
        return withheld(number, REASON)
    if number % 50 == 10:
        return make_prediction(number, notes=("@SUM(A1)", 'said "so", twice', "on two\nlines"))
    if number % 12 == 5:
        return make_prediction(number, findings=TIE)
    return make_prediction(number)


@cache
def film(seed: int) -> Strips:
    strips = chest(SIDE, FRAMES, seed=seed, nodule=5)
    flipped = Image.open(io.BytesIO(strips.overlays["nodule"])).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    held = io.BytesIO()
    flipped.save(held, "PNG")
    return replace(strips, overlays={"lesion": strips.overlays["nodule"], "grade": held.getvalue()})


OLD = (
    make_prediction(7, tuple(one for one in FINDINGS if one.kind is FindingKind.MULTILABEL)),
    withheld(8, REASON),
)
PREDICTIONS = sorted((prediction(number) for number in range(COUNT)), key=lambda one: one.case)
ORDER = [one.case for one in PREDICTIONS]
BY_NAME = {one.case: one for one in PREDICTIONS}


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def started(downloads: Path) -> Iterator[Chrome]:
    with chromium(downloads) as driver:
        yield driver


@pytest.fixture
def browser(started: Chrome) -> Iterator[Chrome]:
    """Holds each test to a silent console and to no request that leaves the page."""
    yield started
    assert [entry for entry in started.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}] == []
    said = [json.loads(entry["message"])["message"] for entry in started.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in said if one["method"] == "Network.requestWillBeSent"]
    assert asked and {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in asked) == len([url for url in asked if ".html" in url])


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("batch") / "predictions.html"
    cases = [CaseOnPage(one, film(number % 8)) for number, one in enumerate(PREDICTIONS)]
    ResultPage().write(path, make_page(cases, superseded=OLD))
    return path


@pytest.fixture
def page(browser: Chrome, thousand: Path) -> Chrome:
    browser.get("about:blank")
    browser.get(thousand.as_uri())
    return browser


@pytest.fixture
def opened(browser: Chrome, tmp_path: Path) -> Callable[[PageContent], Chrome]:
    def open_page(content: PageContent, address: str = "") -> Chrome:
        ResultPage().write(tmp_path / "page.html", content)
        browser.get("about:blank")
        browser.get((tmp_path / "page.html").as_uri() + address)
        return browser

    return open_page


def text(driver: Chrome, selector: str) -> str:
    return driver.find_element(By.CSS_SELECTOR, selector).text


def walk(driver: Chrome, height: str = "8000px") -> list[str]:
    names: list[str] = driver.execute_async_script(WALK, height)
    return names


def sort_by(driver: Chrome, title: str) -> str:
    found = driver.find_element(By.XPATH, f"//th[button[text()='{title}']]")
    found.find_element(By.TAG_NAME, "button").click()
    return str(found.get_attribute("aria-sort"))


def enter(driver: Chrome, selector: str, value: object) -> None:
    """Set a field as its user would see it, with the event that follows."""
    driver.execute_script(
        "const f = document.querySelector(arguments[0]); if (f.type === 'checkbox') f.checked = arguments[1];"
        "else f.value = arguments[1]; f.dispatchEvent(new Event('input', {bubbles: true}));",
        selector,
        value,
    )


def chance(one: Prediction) -> float | None:
    return one.findings[0].probabilities["yes"] if one.findings else None


def drawn(driver: Chrome) -> np.ndarray:
    """What the canvas holds, shape (rows, columns, 4), when the pictures of the open case are there."""
    ready = "const at = (id) => document.getElementById(id); return (at('picture').dataset.drawn || '').startsWith("
    ready += "at('details-case').textContent + ' ')"
    WebDriverWait(driver, 20, 0.02).until(lambda one: one.execute_script(ready))
    copied = driver.execute_script(
        "const c = document.getElementById('picture'); const copy = new OffscreenCanvas(c.width, c.height);"
        "copy.getContext('2d', {willReadFrequently: true}).drawImage(c, 0, 0);"
        "return copy.convertToBlob().then((b) => new Promise((done) => {"
        "const r = new FileReader(); r.onload = () => done(r.result); r.readAsDataURL(b); }));"
    )
    content = base64.b64decode(copied.split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"), float)


def frame_of(content: bytes, number: int, side: int = SIDE) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(content)), float)
    return pixels[:, number * side : (number + 1) * side]


def shrunk(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Mean over the pixels of the canvas that make one of the picture's, colours alone."""
    scale = pixels.shape[0] // side
    return pixels[..., :3].reshape(side, scale, side, scale, 3).mean(axis=(1, 3))


def test_a_thousand_cases_are_all_reachable_while_few_rows_are_drawn(page: Chrome) -> None:
    assert text(page, "#shown") == "1000 of 1000 shown"
    assert page.find_element(By.CSS_SELECTOR, "#cases").get_attribute("aria-rowcount") == "1001"
    assert walk(page, height="") == ORDER
    assert 10 < len(page.find_elements(By.CSS_SELECTOR, "#cases tbody tr")) < 80
    assert not page.execute_script("return document.images.length")
    picture = np.asarray(Image.open(io.BytesIO(page.get_screenshot_as_png())).convert("L"))
    assert picture.shape[1] == 1280 and len(np.unique(picture)) > 50 and picture.std() > 10


def test_heads_sort_by_number_in_three_states_and_leave_equal_ones_in_order(page: Chrome) -> None:
    known = [one for one in PREDICTIONS if chance(one) is not None]
    unknown = [one.case for one in PREDICTIONS if chance(one) is None]
    assert len({chance(one) for one in known}) < len(known) - 50
    assert sort_by(page, "p(yes)") == "descending"
    assert walk(page) == [one.case for one in sorted(known, key=lambda one: -float(chance(one) or 0))] + unknown
    assert sort_by(page, "p(yes)") == "ascending"
    assert walk(page) == [one.case for one in sorted(known, key=lambda one: float(chance(one) or 0))] + unknown
    assert sort_by(page, "p(yes)") == "none"
    assert walk(page) == ORDER


def test_grades_sort_in_the_order_of_their_classes_not_of_the_alphabet(page: Chrome) -> None:
    assert sort_by(page, "grade") == "ascending"
    by = {one.case: one.findings[3].decision if one.findings else "" for one in PREDICTIONS}
    ranks = [("none", "mild", "severe", "").index(by[name]) for name in walk(page)]
    assert ranks == sorted(ranks) and len(set(ranks)) == 4


def fits_all(one: Prediction) -> bool:
    value = chance(one)
    return value is not None and 0.3 <= value <= 0.8 and "edema" in one.findings[2].decision and bool(one.notes)


FILTERS: dict[str, tuple[dict[str, object], Callable[[Prediction], bool]]] = {
    "a pseudonym": ({"#filter-text": ORDER[77][:9].upper()}, lambda one: one.case == ORDER[77]),
    "two words": ({"#filter-text": "monochrome1 resampled"}, lambda one: len(one.notes) == 2),
    "a reason": ({"#filter-text": "spacing of 5"}, lambda one: one.scope is ScopeVerdict.OUT_OF_SCOPE),
    "a decision": (
        {'.filter-decision[data-finding="0"]': "1"},
        lambda one: bool(one.findings) and one.findings[0].decision == "yes",
    ),
    "one label": (
        {'.filter-decision[data-finding="2"]': "1"},
        lambda one: bool(one.findings) and "nodule" in one.findings[2].decision.split("|"),
    ),
    "no label": (
        {'.filter-decision[data-finding="2"]': "2"},
        lambda one: bool(one.findings) and one.findings[2].decision == "",
    ),
    "a scope": ({"#filter-scope": "in_scope"}, lambda one: one.scope is ScopeVerdict.IN_SCOPE),
    "notes": ({"#filter-notes": True}, lambda one: bool(one.notes)),
    "another finding": (
        {"#filter-of": "1", "#filter-low": 70},
        lambda one: bool(one.findings) and max(one.findings[1].probabilities.values()) >= 0.7,
    ),
    "all at once": (
        {"#filter-low": 80, "#filter-high": 30, '.filter-decision[data-finding="2"]': "0", "#filter-notes": True},
        fits_all,
    ),
}


def test_filters_leave_what_fits_and_count_it_and_are_reset(page: Chrome) -> None:
    for name, (fields, fits) in FILTERS.items():
        expected = [one.case for one in PREDICTIONS if fits(one)]
        assert 0 < len(expected) < COUNT, name
        for selector, value in fields.items():
            enter(page, selector, value)
        assert text(page, "#shown") == f"{len(expected)} of 1000 shown", name
        assert walk(page) == expected, name
        page.find_element(By.CSS_SELECTOR, "#filters [type=reset]").click()
        WebDriverWait(page, 5, 0.02).until(lambda one: text(one, "#shown") == "1000 of 1000 shown")


def test_what_can_be_chosen_is_what_can_be_decided(page: Chrome) -> None:
    for number, finding in enumerate(FINDINGS):
        options = page.find_elements(By.CSS_SELECTOR, f'.filter-decision[data-finding="{number}"] option')
        extra = ["none"] if finding.kind is FindingKind.MULTILABEL else []
        assert [one.text for one in options] == ["any", *finding.classes, *extra]


def test_a_click_on_a_decision_of_the_summary_filters_by_it(page: Chrome) -> None:
    expected = sum(bool(one.findings) and one.findings[0].decision == "yes" for one in PREDICTIONS)
    button = page.find_element(By.CSS_SELECTOR, '.choice[data-finding="0"][data-decision="1"]')
    assert button.find_element(By.CSS_SELECTOR, ".n").text == str(expected)
    button.click()
    assert text(page, "#shown") == f"{expected} of 1000 shown"
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert text(page, "#shown") == "1000 of 1000 shown"


def test_a_case_shows_its_slices_and_its_overlay(page: Chrome) -> None:
    row = page.find_element(By.CSS_SELECTOR, f'tr[data-case="{ORDER[4]}"]')
    row.click()
    enter(page, "#overlay-on", False)
    canvas = page.find_element(By.CSS_SELECTOR, "#picture")
    screens = []
    for number in (1, 5, 9):
        enter(page, "#frame", number)
        assert text(page, "#frame-number") == f"{number} of 9"
        seen = shrunk(drawn(page))[..., 0]
        differences = [np.abs(seen - frame_of(film(4).slices, at)).mean() for at in range(FRAMES)]
        assert differences.index(min(differences)) == number - 1
        assert differences[number - 1] < 6 < 1.3 * sorted(differences)[1]
        screens.append(np.asarray(Image.open(io.BytesIO(canvas.screenshot_as_png)).convert("RGB"), float))
    assert min(np.abs(screens[0] - screens[1]).max(), np.abs(screens[1] - screens[2]).max()) > 50
    enter(page, "#frame", 5)
    plain = drawn(page)
    enter(page, "#overlay-on", True)
    covered = drawn(page)
    alpha = frame_of(film(4).overlays["lesion"], 4)[..., 3] / 255
    change = np.abs(shrunk(covered) - shrunk(plain)).max(axis=-1)
    assert change[alpha > 0.6].min() > 25 and change[alpha == 0].max() < 3
    enter(page, "#overlay-of", "grade")
    assert np.abs(drawn(page) - covered).max() > 25
    enter(page, "#opacity", 0)
    assert np.array_equal(drawn(page), plain)


def test_what_is_said_of_a_case_stands_beside_it(page: Chrome) -> None:
    one = next(one for one in PREDICTIONS if len(one.notes) == 2 and one.findings)
    page.execute_script("location.hash = arguments[0]", f"#case={one.case}")
    WebDriverWait(page, 5, 0.02).until(lambda driver: text(driver, "#details-case") == one.case)
    top = page.execute_script("return document.getElementById('details').getBoundingClientRect().top / innerHeight")
    assert 0 <= top < 0.5
    shown = text(page, "#details")
    for word in (one.patient, one.study, one.series, one.digest, one.model, *one.notes, "in scope", "at 0.42 or more"):
        assert word in shown
    rows = [row.text.split() for row in page.find_elements(By.CSS_SELECTOR, "#answers .chance")]
    assert [row[0] for row in rows] == [label for finding in FINDINGS for label in finding.classes]
    values = [value for answer in one.findings for value in answer.probabilities.values()]
    assert [float(row[1].strip("<>")) for row in rows] == pytest.approx(values, abs=6e-4)


def test_nothing_that_is_withheld_looks_like_a_probability(page: Chrome) -> None:
    one = next(one for one in PREDICTIONS if not one.findings)
    enter(page, "#filter-text", one.case)
    page.find_element(By.CSS_SELECTOR, f'tr[data-case="{one.case}"]').click()
    assert "withheld: unlike the training data" in text(page, "#answers") and REASON in text(page, "#answers")
    assert not page.find_elements(By.CSS_SELECTOR, ".details .chance, #cases .meter")
    assert text(page, f'tr[data-case="{one.case}"]').split()[1:] == [*["withheld"] * 4, "out", "of", "scope"][:7] + (
        [str(len(one.notes))] if one.notes else []
    )
    assert drawn(page).std() > 10
    assert not page.find_element(By.CSS_SELECTOR, "#overlays").is_displayed()


def test_what_is_answered_though_out_of_scope_is_shown_and_marked(
    opened: Callable[..., Chrome], downloads: Path, tmp_path: Path
) -> None:
    said = sorted((make_prediction(1), doubted(2, REASON), withheld(3, REASON)), key=lambda one: one.case)
    (answered,) = [one for one in said if one.scope is ScopeVerdict.OUT_OF_SCOPE and one.findings]
    strips = [CaseOnPage(one, film(1)) for one in said]
    driver = opened(make_page(strips, superseded=(doubted(4, REASON),)), f"#case={answered.case}")
    cards = [one.text.split("\n") for one in driver.find_elements(By.CSS_SELECTOR, ".card")]
    assert ["withheld", "1", "unlike the training data"] in cards
    assert ["out of scope", "1", "answered all the same"] in cards
    assert "2 answered (1 out of scope), 1 withheld" in text(driver, ".summary")
    (row,) = driver.find_elements(By.CSS_SELECTOR, "#cases tr.doubted")
    assert row.get_attribute("data-case") == answered.case
    assert len(row.find_elements(By.CSS_SELECTOR, ".meter")) == len(FINDINGS)
    assert "out of scope" in row.text and "withheld" not in row.text
    assert text(driver, "#answers .verdict").startswith("out of scope: unlike the training data")
    assert REASON in text(driver, "#answers .verdict")
    chances = driver.find_elements(By.CSS_SELECTOR, "#answers.doubted .chance")
    assert len(chances) == sum(len(finding.classes) for finding in FINDINGS)
    colours = {one.find_element(By.CSS_SELECTOR, ".n").value_of_css_property("color") for one in chances}
    assert colours == {driver.find_element(By.CSS_SELECTOR, "#cases .withheld").value_of_css_property("color")}
    drawn(driver)
    assert driver.find_element(By.CSS_SELECTOR, "#overlays").is_displayed()
    driver.find_element(By.CSS_SELECTOR, f'tr[data-case="{make_prediction(1).case}"] a').click()
    assert not driver.find_elements(By.CSS_SELECTOR, "#answers.doubted")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".old tr.doubted .decision")) == len(FINDINGS)
    driver.find_element(By.CSS_SELECTOR, "#export").click()
    saved = downloads / "predictions-shown.csv"
    WebDriverWait(driver, 10, 0.02).until(lambda _: saved.exists())
    CsvWriter().write(tmp_path / "expected.csv", said, FINDINGS)
    assert saved.read_bytes() == (tmp_path / "expected.csv").read_bytes()
    saved.unlink()


def test_there_may_be_more_cases_than_a_call_takes_arguments(opened: Callable[..., Chrome]) -> None:
    least = make_prediction(1, ())
    cases = [CaseOnPage(least.model_copy(update={"case": f"C{number:06}"})) for number in range(MANY)]
    driver = opened(make_page(cases, ()))
    assert text(driver, "#shown") == f"{MANY} of {MANY} shown"
    assert driver.find_elements(By.CSS_SELECTOR, '#cases tr[data-case="C000000"]')


def test_keys_move_between_cases_and_slices_and_close(page: Chrome) -> None:
    sort_by(page, "p(yes)")
    order = walk(page)
    page.find_element(By.CSS_SELECTOR, f'tr[data-case="{order[0]}"] a').send_keys(Keys.ENTER)
    press = ActionChains(page)
    for _ in range(40):
        press.send_keys(Keys.ARROW_DOWN)
    press.perform()
    assert text(page, "#details-case") == order[40]
    assert page.find_element(By.CSS_SELECTOR, "tr.selected").get_attribute("data-case") == order[40]
    box, row = (page.find_element(By.CSS_SELECTOR, one).rect for one in ("#scroll", "tr.selected"))
    assert box["y"] <= row["y"] and row["y"] + row["height"] <= box["y"] + box["height"] + 1
    ActionChains(page).send_keys(Keys.ARROW_UP, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT).perform()
    assert text(page, "#details-case") == order[39] and text(page, "#frame-number") == "6 of 9"
    assert page.current_url.endswith(f"#case={order[39]}")
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    assert not page.find_element(By.CSS_SELECTOR, "#details").is_displayed()
    assert "#" not in page.current_url
    assert page.switch_to.active_element.text == order[39]


def test_what_is_shown_is_exported_as_the_csv_writer_writes_it(page: Chrome, downloads: Path, tmp_path: Path) -> None:
    enter(page, "#filter-notes", True)
    page.find_element(By.CSS_SELECTOR, "#export").click()
    saved = downloads / "predictions-shown.csv"
    WebDriverWait(page, 10, 0.02).until(lambda _: saved.exists())
    CsvWriter().write(tmp_path / "expected.csv", [one for one in PREDICTIONS if one.notes], FINDINGS)
    assert saved.read_bytes() == (tmp_path / "expected.csv").read_bytes()
    saved.unlink()


def test_refusals_stand_by_code_and_are_filtered(page: Chrome) -> None:
    page.find_element(By.CSS_SELECTOR, "#tab-refused").click()
    assert text(page, "#refused-shown") == "183 of 183 rejected files shown"
    codes = [one.text for one in page.find_elements(By.CSS_SELECTOR, ".code h2")]
    assert codes[0] == "GAP 94 files rejected" and len(codes) == 4
    enter(page, "#refused-text", f"gap {REFUSALS[3].series}")
    assert text(page, "#refused-shown") == "30 of 183 rejected files shown"
    rows = [one.text for one in page.find_elements(By.CSS_SELECTOR, ".refusal") if one.is_displayed()]
    assert rows == [f"{REFUSALS[3].series} read one slice is missing after slice 7 of 30 30"]
    page.find_element(By.CSS_SELECTOR, "#tab-superseded").click()
    rows = {one.text.split()[0]: one.text for one in page.find_elements(By.CSS_SELECTOR, ".old tbody tr")}
    assert list(rows) == sorted(one.case for one in OLD)
    assert rows[OLD[1].case].count("withheld") == len(FINDINGS) and "out of scope" in rows[OLD[1].case]
    chances = OLD[0].findings[0].probabilities
    assert OLD[0].findings[0].decision == "" and "none edema" in rows[OLD[0].case]
    assert all(f"{label} {chance:.3f}" in rows[OLD[0].case] for label, chance in chances.items())


def test_the_printer_gets_every_row(page: Chrome) -> None:
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert len(page.find_elements(By.CSS_SELECTOR, "#cases tbody tr:not(.spacer)")) == COUNT
    page.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert len(page.find_elements(By.CSS_SELECTOR, "#cases tbody tr")) < 80


def test_every_control_has_a_name_for_who_does_not_see_it(page: Chrome) -> None:
    page.find_element(By.CSS_SELECTOR, f'tr[data-case="{ORDER[0]}"]').click()
    drawn(page)
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = {"button", "searchbox", "slider", "checkbox", "combobox", "tab", "link", "columnheader", "img", "image"}
    found = [one for one in nodes if not one["ignored"] and one.get("role", {}).get("value", "").lower() in controls]
    assert len(found) > 40
    assert [(one["role"], one["properties"]) for one in found if not one.get("name", {}).get("value")] == []


NASTY = (
    "<!--<script </script </script><script>window.hit=1</script><img src=x onerror='window.hit=1'>\u2028{{7*7}}&amp;\"'"
)


def nasty_page() -> PageContent:
    finding = Finding(
        name="lesion", kind=FindingKind.BINARY, classes=(f"no{NASTY}", f"yes{NASTY}"), positive=f"yes{NASTY}"
    )
    said = make_prediction(
        1,
        (finding,),
        **dict.fromkeys(("case", "patient", "study", "series", "digest", "model"), NASTY),
        notes=(NASTY, "=cmd()"),
        scope_reasons=(NASTY,),
    )
    strips = replace(film(1), overlays={NASTY: film(1).overlays["lesion"]})
    return make_page(
        [CaseOnPage(said, strips)],
        (finding,),
        card=make_card((finding,), name=NASTY, intended_use=NASTY, limits=(NASTY,)),
        model=NASTY,
        engine={NASTY: {NASTY: NASTY}},
        versions={NASTY: NASTY},
        started=NASTY,
        refusals=(RefusalOnPage(Code.GAP, NASTY, NASTY, NASTY, NASTY),),
        superseded=(said,),
    )


def test_no_text_of_a_batch_runs_or_is_lost(opened: Callable[..., Chrome]) -> None:
    driver = opened(nasty_page())
    row = driver.find_element(By.CSS_SELECTOR, "#cases tbody tr:not(.spacer)")
    row.click()
    drawn(driver)
    for tab in driver.find_elements(By.CSS_SELECTOR, "[role=tab]"):
        tab.click()
    assert driver.execute_script("return window.hit === undefined && document.images.length === 0")
    shown = driver.execute_script(
        "const t = (s) => [...document.querySelectorAll(s)].map((e) => e.textContent);"
        "return [...t('td.case a'), ...t('#details-case'), ...t('ul.notes li:first-child'), ...t('.verdict li'),"
        "...t('#overlay-of option'), ...t('.warnings li'), ...t('.refusal td:nth-child(2)')];"
    )
    assert shown == [NASTY] * 7


def test_an_address_that_leads_nowhere_and_pictures_that_are_none(opened: Callable[..., Chrome]) -> None:
    broken = Strips(3, 8, 8, b"no picture", {})
    content = make_page([CaseOnPage(make_prediction(1), broken), CaseOnPage(make_prediction(2))])
    for address in ("#case=%", "#case=nobody", "#", "#other"):
        driver = opened(content, address)
        assert text(driver, "#shown") == "2 of 2 shown"
        assert not driver.find_element(By.CSS_SELECTOR, "#details").is_displayed()
    driver = opened(content, f"#case={make_prediction(2).case}")
    assert "No pictures were made" in text(driver, "#no-film")
    driver = opened(content, f"#case={make_prediction(1).case}")
    WebDriverWait(driver, 5, 0.02).until(lambda one: "cannot be decoded" in text(one, "#no-film"))


@pytest.mark.parametrize("findings", [(), (NODULE, GRADE), FINDINGS], ids=["none", "two", "four"])
def test_it_fits_its_window(opened: Callable[..., Chrome], findings: tuple[Finding, ...]) -> None:
    cases = [CaseOnPage(make_prediction(number, findings), chest(16, 1, seed=1, nodule=2)) for number in range(3)]
    driver = opened(make_page(cases, findings))
    for width in (400, 1280):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        driver.find_element(By.CSS_SELECTOR, "td.case a").send_keys(Keys.ENTER)
        drawn(driver)
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert not driver.find_element(By.CSS_SELECTOR, "#frames").is_displayed()
        box = driver.find_element(By.CSS_SELECTOR, "#details").rect
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        ActionChains(driver).send_keys(Keys.ESCAPE).perform()
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
