"""tools/app.py as typed, and its page in a browser."""

import json
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import gradio
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait
from shapely.geometry import shape

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.visualization.overlay import POINT_COLOR

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # s


def run(monkeypatch, *arguments, pages=None):
    """Run the tool in this process; the server goes on when its main function has ended."""
    pages = [] if pages is None else pages
    monkeypatch.setattr(sys, "argv", ["tools/app.py", *map(str, arguments)])
    monkeypatch.setattr("logging.captureWarnings", lambda capture: None)
    monkeypatch.setattr("selfsam_d2.prediction.web_page.serve", lambda page, _: pages.append(page))
    try:
        runpy.run_path(str(ROOT / "tools" / "app.py"), run_name="__main__")
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture(scope="module")
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def page(tiny_run, port):
    pages = []
    with pytest.MonkeyPatch.context() as patch:
        arguments = ("--weights", tiny_run / "model_final.pth", "--port", port)
        assert run(patch, *arguments, pages=pages) == 0
        yield pages[0]
        gradio.close_all()


@pytest.fixture(scope="module")
def address(page, port):
    assert page.local_url == f"http://127.0.0.1:{port}/"
    return page.local_url


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Names of files to drop -> their paths."""
    folder = tmp_path_factory.mktemp("images")
    good, broken, large = (folder / f"{name}.png" for name in ("good", "broken", "large"))
    Image.fromarray(make_synthetic_image(np.random.default_rng(0), 96, 12)[0]).save(good)
    broken.write_bytes(good.read_bytes()[:500])
    Image.new("RGB", (2049, 2048)).save(large)
    return {path.stem: path for path in (good, broken, large)}


class Page:
    """What a user does on the page."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.get(address)
        self.until(lambda: self.find("#upload input[type=file]"))

    def find(self, selector):
        found = self.browser.find_elements("css selector", selector)
        return found[0] if found else None

    def until(self, condition):
        return WebDriverWait(self.browser, PATIENCE).until(lambda browser: condition())

    def drop(self, path):
        self.find("#upload input[type=file]").send_keys(str(path))

    def text(self, selector):
        """What stands in an element; empty where there is none."""
        return self.browser.execute_script(
            "return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector
        )

    def wait_for(self, words, selector="#status"):
        self.until(lambda: words in self.text(selector))
        return self.text(selector)

    def picture(self):
        """Address and width of what is drawn."""
        return self.browser.execute_script(
            "const found = document.querySelector('#view img');"
            "return found && found.naturalWidth ? [found.src, found.naturalWidth] : null"
        )

    def color(self, x, y):
        """RGB of a pixel of what is drawn."""
        return self.browser.execute_script(
            "const canvas = document.createElement('canvas').getContext('2d');"
            "canvas.drawImage(document.querySelector('#view img'), 0, 0);"
            "return [...canvas.getImageData(arguments[0], arguments[1], 1, 1).data].slice(0, 3)",
            x,
            y,
        )


def test_drop_click_and_download(address, browser, images, tmp_path):
    browser.get_log("performance")
    page = Page(browser, address)
    page.drop(images["good"])
    found = page.wait_for("nuclei found")
    assert found.startswith("good.png: ")
    before = page.until(page.picture)
    assert before[1] == 96

    picture = page.find("#view img")
    ActionChains(browser).move_to_element_with_offset(picture, 0, 0).click().perform()
    page.wait_for("outlined at 1 point")
    page.until(lambda: page.picture() and page.picture()[0] != before[0])
    assert page.color(48, 48) == list(POINT_COLOR)
    assert page.color(20, 20) != list(POINT_COLOR)

    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    page.find("#download").click()
    page.until(lambda: list(tmp_path.glob("*.geojson")))
    (path,) = tmp_path.glob("*.geojson")
    assert path.name == "good.geojson"
    content = json.loads(path.read_text())
    features = content["features"]
    numbers = re.fullmatch(
        r"good.png: (\d+) nuclei found, (\d+) outlined at 1 point", page.text("#status")
    )
    assert len(features) == sum(map(int, numbers.groups())) > 0
    assert all(shape(each["geometry"]).is_valid for each in features)

    page.find("#clear").click()
    page.until(lambda: page.text("#status") == found)

    hosts = {
        urlsplit(message["params"]["request"]["url"]).hostname
        for entry in browser.get_log("performance")
        for message in [json.loads(entry["message"])["message"]]
        if message["method"] == "Network.requestWillBeSent"
    }
    assert hosts - {None} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("name", "words"), [("broken", "broken.png: truncated"), ("large", "2049 x 2048 px are more")]
)
def test_files_that_cannot_be_used_give_a_message(name, words, address, browser, images):
    page = Page(browser, address)
    page.drop(images[name])
    message = page.wait_for(words, ".toast-body")
    assert str(images[name].parent) not in message
    # The page goes on.
    page = Page(browser, address)
    page.drop(images["good"])
    page.wait_for("nuclei found")


def test_a_port_in_use_is_one_line(address, tiny_run, port, monkeypatch, capfd):
    start = time.monotonic()
    assert run(monkeypatch, "--weights", tiny_run / "model_final.pth", "--port", port) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1, error
    assert f"--port {port}: cannot be listened on" in error
    assert "another --port" in error
    assert "--host" not in error
    assert time.monotonic() - start < PATIENCE


def test_the_page_is_for_this_machine_alone(page, port):
    bound = [each.getsockname() for server in page.server.servers for each in server.sockets]
    assert bound == [("127.0.0.1", port)]


@pytest.mark.parametrize("host", ["192.0.2.77", "no-host.invalid", "2001:db8::1"])
def test_a_host_that_is_not_here_is_one_line_before_the_model_is_loaded(host, monkeypatch, capfd):
    assert run(monkeypatch, "--weights", "no_such.pth", "--host", host) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1, error
    assert error.startswith(f"error: --host {host}: ")
    assert "127.0.0.1" in error
    assert "--port" not in error


def test_a_start_says_how_it_ends_and_ctrl_c_is_no_error(tiny_run, port):
    command = [sys.executable, "tools/app.py", "--weights", tiny_run / "model_final.pth"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=PATIENCE)
    assert line == (
        f"open http://127.0.0.1:{port}/ in a browser; leave this terminal open; Ctrl+C ends\n"
    )
    assert (process.returncode, said, complained) == (0, "stopped\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--port", "0"], "--port 0"), (["--weights", "no_such.pth"], "no_such.pth")],
)
def test_errors_are_one_line(arguments, words, monkeypatch, capfd):
    assert run(monkeypatch, "--weights", "none.pth", *arguments) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1, error
    assert words in error


def test_a_missing_gradio_names_the_extra(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run(monkeypatch, "--weights", "none.pth") == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1, error
    assert "needs gradio, the extra `app`" in error
