"""A page of a thousand cases with pictures, in Chromium. Run: python tests/benchmarks/result_page.py.

There is no peer: the figures say whether such a page stays usable. Sorting, filtering and scrolling are timed from the
event to the frame after it, opening a case until its pictures are drawn; each is the median of the repeats.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.results import table, write_section
from phantoms.batches import GRADE, NODULE, chest, make_page, make_prediction
from phantoms.browsers import BROWSER, chromium
from selenium.webdriver import Chrome

from pipeline.writers.html.page import ResultPage
from pipeline.writers.page_content import CaseOnPage

FINDINGS = (NODULE, GRADE)
REPEATS = 15
TIMED = """
const [action, count, done] = arguments, times = [], act = new Function('n', action);
function once(n) {
  if (n === count) return done(times);
  const begun = performance.now();
  act(n);
  requestAnimationFrame(() => setTimeout(() => { times.push(performance.now() - begun); once(n + 1); }));
}
once(0);
"""
OPENED = """
const [count, done] = arguments, times = [];
async function once(n) {
  if (n === count) return done(times);
  const one = cases[(n * 61) % cases.length], begun = performance.now();
  location.hash = '#case=' + one.case;
  while (!(document.getElementById('picture').dataset.drawn || '').startsWith(one.case))
    await new Promise((next) => setTimeout(next));
  times.push(performance.now() - begun);
  once(n + 1);
}
once(0);
"""
ACTIONS = {
    "sort by a probability": "document.querySelectorAll('th.chance button')[n % 2].click()",
    "search for a text": (
        "const f = document.getElementById('filter-text'); f.value = n % 2 ? '' : 'monochrome';"
        "f.dispatchEvent(new Event('input', {bubbles: true}))"
    ),
    "filter by a probability": (
        "const f = document.getElementById('filter-low'); f.value = n % 2 ? 0 : 50;"
        "f.dispatchEvent(new Event('input', {bubbles: true}))"
    ),
    "scroll to another end": "document.getElementById('scroll').scrollTop = n % 2 ? 0 : 1e6",
}


def write_page(path: Path, count: int, frames: int, side: int) -> float:
    """Write a page whose pictures all differ, and return the seconds that the writer took."""
    cases = [
        CaseOnPage(make_prediction(n, FINDINGS), chest(side, frames, seed=n, nodule=side / 14)) for n in range(count)
    ]
    page = make_page(cases, FINDINGS)
    begun = time.perf_counter()
    ResultPage().write(path, page)
    return time.perf_counter() - begun


def opening(driver: Chrome, path: Path) -> tuple[float, float]:
    """Milliseconds to the first paint and to the end of loading."""
    driver.get("about:blank")
    driver.get(path.as_uri())
    painted, loaded = driver.execute_script(
        "return [performance.getEntriesByName('first-contentful-paint')[0].startTime,"
        "performance.getEntriesByType('navigation')[0].loadEventEnd];"
    )
    return painted, loaded


def milliseconds(times: list[float]) -> str:
    return f"{statistics.median(times):.0f} ms (worst {max(times):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.html"
        seconds = write_page(path, arguments.cases, 9, 64)
        rows = [["size of the file", f"{path.stat().st_size / 1e6:.1f} MB"], ["written in", f"{seconds:.2f} s"]]
        with chromium(Path(folder)) as driver:
            opened = [opening(driver, path) for _ in range(5)]
            rows.append(["table to be seen", milliseconds([one for one, _ in opened])])
            rows.append(["file read to its end", milliseconds([one for _, one in opened])])
            for name, action in ACTIONS.items():
                rows.append([name, milliseconds(driver.execute_async_script(TIMED, action, REPEATS))])
            rows.append(["open a case, pictures drawn", milliseconds(driver.execute_async_script(OPENED, REPEATS))])
            driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
            heap = driver.execute_script("return performance.memory.usedJSHeapSize")
            rows.append(["memory of the script", f"{heap / 1e6:.0f} MB"])
    version = re.findall(r"[\d.]+", subprocess.run([BROWSER, "--version"], capture_output=True, text=True).stdout)
    body = f"{arguments.cases} cases of two findings, each with 9 slices of 64 x 64 and an overlay.\n\n"
    remarks = [f"Chromium {version[0]}, headless, 1280 x 1000"]
    print(
        write_section(
            "result_page", "The result page", body + table(["", "measured"], rows), ["jinja2"], remarks=remarks
        )
    )


if __name__ == "__main__":
    main()
