"""The report and the overlay video in headless Chromium, opened from disk.

Skipped without Chromium, its driver or selenium.
"""

import contextlib
import json
import shutil

import cv2
import numpy as np
import pytest

from lib.report.page import find_images, write_report
from patrack.recordings import overlay
from report_data import HOSTILE, NAMES, make_evaluation

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (pip install -e .[dev])")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="needs chromium and chromedriver (apt install chromium-driver)"
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    with contextlib.suppress(Exception):
        driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    evaluation = make_evaluation(root, trackers=("ours", "<script>alert(1)</script>"))
    images, _ = find_images("synthrgbt", "test", str(root))
    return write_report(evaluation, root / "out", images=images, shown=2)


@pytest.fixture
def page(browser, report):
    """The page, freshly loaded at 1280 px."""
    resize(browser, 1280)
    browser.get(report.as_uri())
    return browser


def resize(browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def column(page, number):
    script = """
        return [...document.querySelectorAll("#sequences tbody tr")].filter((row) => row.offsetParent !== null)
            .map((row) => row.children[arguments[0]].textContent)"""
    return page.execute_script(script, number)


def sort(page, number):
    page.execute_script(
        'document.querySelectorAll("#sequences th[aria-sort]")[arguments[0]].querySelector("button").click()', number
    )


def test_it_renders_without_console_message_and_without_leaving_the_disk(page, report):
    page.get_log("performance")
    page.get_log("browser")
    page.get(report.as_uri())
    assert page.execute_script("return document.querySelectorAll('[data-curves] g[class^=t]').length") == 6
    loaded = page.execute_script(
        "return Promise.all([...document.querySelectorAll('image')].map((i) => { const p = new Image();"
        "p.src = i.href.baseVal; return p.decode().then(() => p.naturalWidth); }))"
    )
    assert loaded == [64] * 48
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert len(asked) >= 49
    folder = report.parent.as_uri()
    assert {url for url in asked if not url.startswith((folder, "data:,"))} == set()


def test_markup_in_names_does_nothing(page):
    assert page.execute_script("return document.querySelectorAll('img, b').length") == 0
    assert HOSTILE in column(page, 0)


def test_a_script_that_gets_into_the_page_is_not_run(page):
    page.execute_script(
        "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"document.title = 1\">');"
        "const s = document.createElement('script'); s.textContent = 'document.title = 2'; document.body.append(s);"
    )
    assert "synthrgbt" in page.title
    page.get_log("browser")  # the policy reports both


def test_sorting_by_number_and_by_name_in_both_directions(page):
    sort(page, 3)
    values = [float(text) for text in column(page, 3)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 2
    sort(page, 3)
    assert [float(text) for text in column(page, 3)] == sorted(values)
    sort(page, 0)
    names = column(page, 0)
    sort(page, 0)
    assert column(page, 0) == names[::-1]
    assert sorted(names) == sorted(NAMES)
    assert page.execute_script("return document.querySelectorAll('#sequences th[aria-sort=descending]').length") == 1


def test_searching_by_name_and_attribute(page):
    box = page.find_element("id", "search")
    box.send_keys("FOG")
    assert set(column(page, 0)) == {"bike", "car"}
    assert page.find_element("id", "count").text == "2 of 6 sequences"
    box.send_keys(" ca")
    assert column(page, 0) == ["car"]
    box.clear()
    box.send_keys("nothing like it")
    assert column(page, 0) == []


def test_another_metric_is_shown_and_sorted(page):
    sort(page, 2)
    before = column(page, 2)
    page.execute_script(
        "const s = document.getElementById('metric'); s.value = '1'; s.dispatchEvent(new Event('change'))"
    )
    after = column(page, 2)
    assert after != before
    assert [float(text) for text in after] == sorted(map(float, after), reverse=True)


def test_a_tracker_can_be_hidden_with_the_keyboard(page):
    button = page.find_element("css selector", ".bar button[data-tracker='1']")
    button.send_keys(" ")
    assert button.get_attribute("aria-pressed") == "false"
    shown = """return [...document.querySelectorAll('.chart .t{0}, rect.t{0}')]
        .filter((e) => e.getBoundingClientRect().width).length"""
    assert page.execute_script(shown.replace("{0}", "1")) == 0
    assert page.execute_script(shown.replace("{0}", "0")) > 10


def test_keyboard_focus_is_visible(page):
    from selenium.webdriver import ActionChains

    styles = set()
    for _ in range(12):
        ActionChains(page).send_keys("\ue004").perform()
        script = "const s = getComputedStyle(document.activeElement); return s.outlineStyle + ' ' + s.outlineWidth"
        styles.add(page.execute_script(script))
    assert styles == {"solid 3px"}


@pytest.mark.parametrize("width", [400, 768, 1280])
def test_the_page_never_scrolls_sideways(page, width):
    resize(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    wide = page.execute_script(
        "return [...document.querySelectorAll('table')].filter((t) => !t.closest('.scroll')).length"
    )
    assert wide == 0, "every table has a box to scroll in"


def test_at_400_px_text_is_large_enough_and_dark_on_light(page):
    resize(page, 400)
    sizes = page.execute_script(
        """return [...document.querySelectorAll("svg text")].filter((t) => t.checkVisibility() && t.getBBox().width)
            .map((t) => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().d
                || parseFloat(getComputedStyle(t).fontSize) * Math.abs(t.getScreenCTM().b))"""
    )
    assert min(sizes) >= 9.5
    colours = page.execute_script("const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]")
    assert colours == ["rgb(27, 31, 36)", "rgb(255, 255, 255)"]


def test_values_under_the_pointer_are_shown(page):
    text = page.execute_script(
        """const chart = document.querySelector("[data-curves]"), area = chart.getBoundingClientRect();
        const place = {clientX: area.left + 0.54 * area.width, clientY: area.top + 50};
        chart.dispatchEvent(new PointerEvent("pointermove", place));
        return document.getElementById("reading").textContent"""
    )
    assert text.startswith("at 0.5\n")
    assert "ours" in text


@pytest.mark.skipif(overlay.av is None, reason="needs PyAV (pip install av)")
def test_overlay_video_plays_with_its_size_length_and_colors(browser, tmp_path):
    frame = np.zeros((121, 161, 6), np.uint8)
    frame[:] = (255, 0, 0, 0, 0, 255)  # a red and a blue half
    with overlay.OverlayVideo(tmp_path / "overlay.mp4", "rgbt", 10.0) as video:
        for number in range(25):
            video.write(frame, np.full(4, np.nan), f"frame {number}")
    (tmp_path / "page.html").write_text("<video src=overlay.mp4 muted preload=auto></video>")
    resize(browser, 1280)
    browser.get((tmp_path / "page.html").as_uri())
    browser.set_script_timeout(20)
    played = browser.execute_async_script(
        """const done = arguments[0], v = document.querySelector("video");
        v.onerror = () => done(v.error.message);
        v.ontimeupdate = () => {
            if (v.currentTime < 0.3) return;
            v.ontimeupdate = null;
            v.pause();
            done([v.readyState, v.videoWidth, v.videoHeight, v.duration]);
        };
        v.play().catch((error) => done(String(error)));"""
    )
    assert played[0] >= 2, played
    assert played[1:] == [2 * 161, 121 + 37, pytest.approx(2.5, abs=0.05)]
    shown = cv2.imdecode(np.frombuffer(browser.get_screenshot_as_png(), np.uint8), cv2.IMREAD_COLOR)
    red, blue = (shown[120, x].astype(int) for x in (60, 260))  # B, G, R
    assert np.abs(red - (0, 0, 255)).max() < 25, red
    assert np.abs(blue - (255, 0, 0)).max() < 25, blue
