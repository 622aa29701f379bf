"""Jobs, done one after the other, in processes of this machine, or on a Ray cluster; with the same results.

Every executor calls ``finished(job, died)`` after each job, from one thread at a time; ``died`` says how its process
ended where it ended without answering, else it is None.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from eventflow.bench.leaderboard._jobs import Job, perform
from eventflow.errors import InputError, require

Finished = Callable[[Job, str | None], None]


def execute(jobs: Sequence[Job], finished: Finished, *, executor: str, workers: int) -> None:
    """Do all jobs: "serial", in "processes" (``workers`` of them), or with "ray"."""
    if not jobs:
        return
    if executor == "serial":
        for job in jobs:
            perform(job)
            finished(job, None)
    elif executor == "processes":
        _processes(jobs, finished, min(workers, len(jobs)))
    else:
        _ray(jobs, finished, workers)


def _processes(jobs: Sequence[Job], finished: Finished, workers: int) -> None:
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    crew = _Crew(waiting, finished)
    threads = [threading.Thread(target=crew.serve, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # a wait that Ctrl-C can end
    finally:
        crew.dismiss()
    if crew.error is not None:
        raise crew.error


class _Crew:
    """Threads that each lead one worker process; one that dies is replaced, and its job is told as such."""

    def __init__(self, waiting: queue.SimpleQueue[Job], finished: Finished) -> None:
        self.waiting, self.finished = waiting, finished
        self.lock = threading.Lock()
        self.processes: list[subprocess.Popen[str]] = []
        self.error: BaseException | None = None
        self.closed = False

    def serve(self) -> None:
        """Hand jobs to one worker until none is left."""
        process: subprocess.Popen[str] | None = None
        try:
            while self.error is None:
                try:
                    job = self.waiting.get_nowait()
                except queue.Empty:
                    return
                if process is None or process.poll() is not None:
                    process = self._start()
                died = _ask(process, job)
                with self.lock:
                    if self.closed:
                        return
                    self.finished(job, died)
        except BaseException as error:  # noqa: B036 - told to the thread that waits
            self.error = error
        finally:
            if process is not None and process.stdin is not None:
                process.stdin.close()

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "eventflow.bench.leaderboard._worker"], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        with self.lock:
            self.processes.append(process)
        return process

    def dismiss(self) -> None:
        """End every process."""
        with self.lock:
            self.closed = True
            for process in self.processes:
                process.kill()
                process.wait()


def _ask(process: subprocess.Popen[str], job: Job) -> str | None:
    """Have one job done; None, or how the process died over it."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(dict(job)) + "\n")
        process.stdin.flush()
        if process.stdout.readline():
            return None
    except BrokenPipeError:
        pass
    code = process.wait()
    return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with exit code {code}"


def _ray(jobs: Sequence[Job], finished: Finished, workers: int) -> None:
    """One task a job. Joins the cluster of RAY_ADDRESS; without it, starts a local one of ``workers`` CPUs."""
    ray: Any = require("ray", "ray")
    own = not ray.is_initialized()
    if own:
        local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **local)
        except Exception as error:  # its own errors have no common type
            where = f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}" if not local else f"a local cluster of {workers} CPUs"
            raise InputError(
                f"--executor ray: {where} could not be reached or started: {' '.join(str(error).split())[:300]}. "
                "Try again, or write: --executor processes"
            ) from error
    try:
        task = ray.remote(num_cpus=1, max_retries=1)(perform)
        under_way = {task.remote(dict(job)): job for job in jobs}
        while under_way:
            done, _ = ray.wait(list(under_way), num_returns=1)
            for future in done:
                job, died = under_way.pop(future), None
                try:
                    ray.get(future)
                except ray.exceptions.RayError as error:
                    died = " ".join(str(error).split())[:300]
                finished(job, died)
    finally:
        if own:
            ray.shutdown()
