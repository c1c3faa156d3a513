"""The process around a service: what it says, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial

from sluice_streaming import service
from sluice_streaming.limits import Limits
from sluice_streaming.service import Context

PREAMBLE = """
import asyncio
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sluice_settings import MisfitSettingError
from sluice_streaming.service import Context, run
from sluice_streaming.watchdog import Stuck

class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SLUICE_")
    secret: str = Field(min_length=32)

"""


def start(body: str, **env: str) -> subprocess.Popen[str]:
    program = PREAMBLE + "async def main(context: Context) -> None:\n" + body + "\nrun('tested', main)\n"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


def finish(body: str, **env: str) -> tuple[int, str]:
    process = start(body, **env)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def test_a_service_that_ends_by_itself_succeeds() -> None:
    assert finish("    await asyncio.sleep(0)")[0] == os.EX_OK


def test_wrong_settings_are_one_line_that_names_the_variable_and_not_its_value() -> None:
    code, errors = finish("    Settings()", SLUICE_SECRET="hunter2")
    (line,) = errors.splitlines()
    assert code == os.EX_CONFIG
    assert "SLUICE_SECRET" in line
    assert "at least 32" in line
    assert "hunter2" not in errors
    assert "Traceback" not in errors


def test_a_setting_that_does_not_fit_what_there_is_is_one_line_too() -> None:
    code, errors = finish("    raise MisfitSettingError('SLUICE_SECRET: it opens nothing')")
    (line,) = [json.loads(text) for text in errors.splitlines()]
    assert code == os.EX_CONFIG
    assert line["event"] == "wrong settings: SLUICE_SECRET: it opens nothing"
    assert "at" not in line


def test_wrong_settings_of_the_process_itself_are_one_line_too() -> None:
    code, errors = finish("    pass", SLUICE_HEALTH="nowhere")
    assert (code, len(errors.splitlines())) == (os.EX_CONFIG, 1)
    assert "SLUICE_HEALTH" in errors


def test_a_fault_is_logged_by_type_and_place_without_what_it_says() -> None:
    code, errors = finish("    raise KeyError('Jane Doe')")
    (line,) = [json.loads(text) for text in errors.splitlines()]
    assert code == os.EX_SOFTWARE
    assert (line["service"], line["error"], line["level"]) == ("tested", "KeyError", "critical")
    assert "Jane" not in errors


def test_no_progress_ends_the_process_with_a_code_of_its_own() -> None:
    code, errors = finish("    raise Stuck('3 records wait')")
    assert code == os.EX_SOFTWARE
    assert "3 records wait" in errors


def test_a_signal_lets_main_finish() -> None:
    body = "    print('up', flush=True)\n    await context.stop.wait()\n    print('clean', flush=True)"
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start(body)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        output, _ = process.communicate(timeout=120)
        assert (process.returncode, output) == (os.EX_OK, "clean\n")


def test_a_service_that_does_not_stop_is_ended_with_a_code_of_its_own() -> None:
    hurried = "    import sluice_streaming.service as service\n    service._STOP_SECONDS = 0.1\n"
    process = start(f"{hurried}    print('up', flush=True)\n    await asyncio.Event().wait()")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == os.EX_TEMPFAIL
    assert "did not stop in time" in errors


def test_tasks_that_heed_no_cancelling_and_threads_that_go_on_hold_up_no_end() -> None:
    body = """
    import threading
    import sluice_streaming.service as service
    service._END_SECONDS = 0.1
    threading.Thread(target=threading.Event().wait).start()
    async def heedless():
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                print('went on', flush=True)
    kept = asyncio.create_task(heedless())
    await asyncio.sleep(0)
"""
    process = start(body)
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, output) == (os.EX_OK, "went on\n")


def test_deliveries_are_released_before_the_process_is_ended() -> None:
    assert Limits().stop < service._STOP_SECONDS


def test_readiness_is_what_every_watched_part_says() -> None:
    context = Context("tested")
    answers: dict[str, bool | str] = {"a": True, "b": "waiting for kafka"}
    assert context.ready() == "starting"
    for name in answers:
        context.watch(partial(answers.__getitem__, name))
    assert context.ready() == "waiting for kafka"
    answers["b"] = True
    assert context.ready() is True
    answers["a"] = False
    assert context.ready() == "not ready"
