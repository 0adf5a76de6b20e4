"""A program that keeps all three layers busy for a while and lets Prometheus watch.

    python example/busy.py [SECONDS] [PORT]       then open http://127.0.0.1:PORT/metrics

It needs task9 and workqueue9. The first line that it prints is the address; it ends by itself.
"""

from __future__ import annotations

import random
import sys
import threading
import time

import prometheus_client

import task9
import threadpool9
import threadpool9_prometheus
import workqueue9


def work_a_bit(item: object, arg: object = None) -> None:
    """Take a few milliseconds, and fail now and then."""
    time.sleep(random.uniform(0.0, 0.004))
    if random.random() < 0.02:
        raise RuntimeError("bad luck")


def finish(job: threadpool9.Job) -> None:
    """A job that does nothing else."""
    with job.interlock:
        job.done()


def main(seconds: float = 60.0, port: int = 0) -> None:
    """Serve, and be busy."""
    threading.excepthook = lambda args: None  # bad luck is not worth a traceback here
    collector = threadpool9_prometheus.register()
    server, thread = prometheus_client.start_http_server(port, "127.0.0.1")
    print(f"http://127.0.0.1:{server.server_address[1]}/metrics", flush=True)
    end = time.monotonic() + seconds
    with (
        threadpool9.get() as pool,
        task9.TaskQueue("chores") as chores,
        workqueue9.WorkQueue("mail", work_a_bit, max_active=2) as mail,
    ):
        while time.monotonic() < end:
            pool.post(threadpool9.Job(finish))
            chores.schedule(task9.Task(work_a_bit))
            chores.schedule_delayed(task9.DelayedTask(work_a_bit), 0.5)
            mail.enqueue(workqueue9.Work())
            time.sleep(0.02)
    server.shutdown()
    thread.join()
    server.server_close()
    threadpool9_prometheus.unregister(collector)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:3]))
