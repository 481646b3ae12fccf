"""A headless Chromium for tests of pages, or a skip by name where there is none."""

import contextlib
import importlib.util
import shutil
import unittest
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def chromium(width: int = 1200, height: int = 900) -> Iterator[Any]:
    """Yields selenium's driver of a headless Chromium; skips the test where selenium, chromium or chromedriver is missing."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    missing += ["selenium"] if importlib.util.find_spec("selenium") is None else []
    if missing:
        raise unittest.SkipTest(
            f"{' and '.join(missing)}: not installed (Debian: chromium, chromium-driver; pip: selenium)"
        )
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def show_as(driver: Any, width: int, *, mobile: bool = False, media: str = "") -> None:
    """Sets the width of the window in pixels, and the medium: "print" or, by default, the screen."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})


def width_of(driver: Any) -> int:
    """Returns the width of the page in pixels, which is larger than the window's where the page scrolls sideways."""
    return int(driver.execute_script("return document.documentElement.scrollWidth"))
