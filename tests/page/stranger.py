"""Somebody at a browser: opens pages, clicks what is written there, waits for what should appear, takes pictures."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=1500,1100", "--force-color-profile=srgb", "--hide-scrollbars"),
)
SECONDS = 60

# The part of a picture's pixels that are the green of trained tokens and the grey of masked ones.
COLOURS = """
const [shot, done] = arguments, image = new Image(), canvas = document.createElement('canvas');
image.onload = () => {
canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);
const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
let green = 0, grey = 0;
for (let i = 0; i < pixels.length; i += 4) {
  const [r, g, b] = [pixels[i], pixels[i + 1], pixels[i + 2]];
  if (r === 0xcf && g === 0xf0 && b === 0xdc) green++;
  if (r === 0xec && g === 0xef && b === 0xf2) grey++;
}
done({green, grey, width: canvas.width, height: canvas.height});
};
image.src = 'data:image/png;base64,' + shot;
"""


def browser_or_skip() -> tuple[str, str]:
    """Paths of browser and driver; the test is skipped where one is missing."""
    pytest.importorskip("selenium", reason="no selenium here: pip install -e '.[dev]'")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no browser here: apt-get install chromium chromium-driver")
    return browser, driver


class Stranger:
    """A fresh browser on one address."""

    def __init__(self, address: str, profile: Path, pictures: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        browser, driver = browser_or_skip()
        options = Options()
        options.binary_location = browser
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        self.driver = webdriver.Chrome(options=options, service=Service(driver))
        self.driver.set_page_load_timeout(SECONDS)
        self.address, self.pictures = address, pictures
        pictures.mkdir(parents=True, exist_ok=True)

    def close(self) -> None:
        self.driver.quit()

    def open(self, path: str) -> None:
        self.driver.get(f"{self.address}{path}")

    def text(self) -> str:
        """What is written on the page now."""
        return str(self.driver.execute_script("return document.body ? document.body.innerText : ''"))

    def wait(self, what: str, there: Callable[[], Any], seconds: float = SECONDS) -> Any:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                answer = there()
            except Exception:  # the page redraws itself: what was there a moment ago is stale
                answer = None
            if answer:
                return answer
            time.sleep(0.3)
        self.picture("what-was-there-instead")
        raise AssertionError(
            f"no {what} after {seconds:.0f} s on {self.driver.current_url}:\n{self.text()[:3000]}"
        )

    def reads(self, *words: str, seconds: float = SECONDS) -> None:
        """Wait until all of this is written on the page."""
        for word in words:
            self.wait(repr(word), lambda word=word: word in self.text(), seconds)

    def click(self, words: str, tag: str = "*", *, exactly: bool = True, seconds: float = SECONDS) -> None:
        """Click what says this, as soon as it is there and lets itself be clicked."""
        test = f"normalize-space(.)={words!r}" if exactly else f"contains(normalize-space(.), {words!r})"
        path = f"//{tag}[{test}][not(.//{tag}[{test}])]"

        def clicked() -> bool:
            for element in self.driver.find_elements("xpath", path):
                if element.is_displayed() and element.is_enabled():
                    element.click()
                    return True
            return False

        self.wait(f"{tag} to click that says {words!r}", clicked, seconds)

    def switch(self, name: str) -> None:
        """Turn the switch in the table's row that holds this name; it comes later than the box to select the row. A
        click that meets the page as it is being drawn anew is lost: then it is turned once more."""
        row = f"//*[normalize-space(.)={name!r}]/ancestor::*[count(.//input[@type='checkbox'])=2][1]"
        path = f"{row}//label[contains(@class, 'formatSwitch')]/input"

        def state() -> list[bool]:
            return [element.is_selected() for element in self.driver.find_elements("xpath", path)]

        def clicked() -> bool:
            (element,) = self.driver.find_elements("xpath", path)
            self.driver.execute_script("arguments[0].click()", element)
            return True

        before = self.wait(f"switch of {name!r}", state)
        for last in (False, False, True):
            self.wait(f"switch of {name!r} to click", clicked)
            try:
                self.wait(f"turned switch of {name!r}", lambda: state() not in ([], before), seconds=10)
                return
            except AssertionError:
                if last:
                    raise

    def colours(self) -> dict[str, int]:
        """Of the first token boxes on the page, as they are seen: pixels of trained green and of masked grey."""
        image = self.sees("token boxes")
        return dict(self.driver.execute_async_script(COLOURS, image.screenshot_as_base64))

    def sees(self, name: str) -> Any:
        """Wait until the picture of this name is loaded, and bring it into view."""

        def loaded() -> Any:
            (image, *_) = self.driver.find_elements("css selector", f"img[alt='{name}']")
            drawn = self.driver.execute_script("return arguments[0].naturalHeight", image) > 40
            return image if drawn else None

        image = self.wait(f"picture {name!r}", loaded)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", image)
        return image

    def picture(self, name: str) -> Path:
        path = self.pictures / f"{name}.png"
        self.driver.save_screenshot(str(path))
        return path
