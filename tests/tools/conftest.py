"""A headless Chromium for the tests that look at a page; a tool that runs in this process."""

import runpy
import shutil
import sys

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# Nothing that Chromium does by itself: every request that is seen is the page's.
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRIVERS = ("chromedriver", "chromium.chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A WebDriver that keeps the console and the requests in its logs."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = next(filter(None, map(shutil.which, DRIVERS)), None)
    if binary is None or driver is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} with chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    folder = tmp_path_factory.mktemp("chromium")
    for argument in (*QUIET, f"--user-data-dir={folder}", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(driver))
    chromium.get("about:blank")  # Chromium's own first page has many requests
    yield chromium
    chromium.quit()


@pytest.fixture
def run_here(monkeypatch, capfd):
    """Function: script, its arguments -> (exit status, stdout, stderr), in this process."""

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, *capfd.readouterr()

    return run
