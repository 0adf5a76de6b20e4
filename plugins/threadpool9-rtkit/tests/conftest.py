"""A desktop of our own: dbus-daemon on a private socket as system bus, the real polkitd and the real rtkit-daemon.

It needs root, for the daemons and to become an ordinary user afterwards, and Debian's packages dbus-daemon, polkitd
and rtkit. The machine's own bus and settings are not touched: polkitd sees our rules in a mount namespace of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pace import patience

LIMIT = patience(30.0)
RTKIT = Path("/usr/libexec/rtkit-daemon")
POLKIT = next(
    (path for path in map(Path, ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd")) if path.exists()), None
)

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/>
    <allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""
#: Who sits at the desktop's keyboard, for polkitd; anybody else is refused.
RULE = """
polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.freedesktop.RealtimeKit1.") == 0 && subject.user == "nobody")
        return polkit.Result.YES;
});
"""


def missing() -> str | None:
    """Why there can be no such desktop here."""
    if os.geteuid() != 0:
        return "the daemons need root"
    wanted = {"dbus-daemon": shutil.which("dbus-daemon"), "polkitd": POLKIT, "rtkit": RTKIT.exists() and RTKIT}
    absent = [name for name, found in wanted.items() if not found]
    if absent:
        return f"Debian packages are missing: {', '.join(absent)}"
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError as error:
        return f"this machine grants nobody a real-time class: {error.strerror}"
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        return "mount namespaces are not to be had here"
    return None


class Desktop:
    """The bus and the daemons; each is ended by its own process id."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"unix:path={directory / 'bus'}"
        self.environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}
        self.processes: list[subprocess.Popen[bytes]] = []
        (directory / "bus.conf").write_text(BUS.format(socket=directory / "bus"))
        rules = directory / "rules"
        rules.mkdir()
        (rules / "50-test.rules").write_text(RULE)
        directory.chmod(0o755)
        self.start("dbus-daemon", "--nofork", f"--config-file={directory / 'bus.conf'}")
        self.wait_for("org.freedesktop.DBus")
        script = 'mount --bind "$0" /etc/polkit-1/rules.d && exec "$1" --no-debug'
        self.start("unshare", "-m", "sh", "-c", script, str(rules), str(POLKIT))
        self.wait_for("org.freedesktop.PolicyKit1")
        # Tests ask more often than a user would.
        self.start(str(RTKIT), "--stderr", "--actions-per-burst-max=1000", "--no-canary")
        self.wait_for("org.freedesktop.RealtimeKit1")

    def start(self, *command: str) -> None:
        """Start a daemon. A pipe for its words: rtkit-daemon may write to no file."""
        process = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.processes.append(process)

    def wait_for(self, name: str) -> None:
        """Until somebody has that name on the bus."""
        command = ["dbus-send", f"--bus={self.address}", "--print-reply", "--dest=org.freedesktop.DBus", "/",
                   "org.freedesktop.DBus.GetNameOwner", f"string:{name}"]  # fmt: skip
        deadline = time.monotonic() + LIMIT
        while subprocess.run(command, capture_output=True).returncode != 0:
            process = self.processes[-1]
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                assert process.stderr is not None
                pytest.fail(f"{name} does not come: {process.stderr.read().decode()}")
            time.sleep(0.02)  # the bus could announce it, to a client that we would have to write

    def stop(self) -> None:
        """End the daemons, the last one first."""
        for process in reversed(self.processes):
            process.terminate()
            process.wait(LIMIT)
            assert process.stderr is not None
            process.stderr.close()


@pytest.fixture(scope="session")
def desktop() -> Iterator[Desktop]:
    """The real daemons on a private bus."""
    if (reason := missing()) is not None:
        pytest.skip(f"no private desktop: {reason}")
    directory = Path(tempfile.mkdtemp(prefix="rtkit9-"))
    desktop = Desktop(directory)
    yield desktop
    desktop.stop()
    shutil.rmtree(directory)
