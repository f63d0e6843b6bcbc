import asyncio
import resource
import signal
import sys
from textwrap import dedent

import pytest

from pog.process import run as process
from tests.helpers.process import Program

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def program(loop: str, main: str) -> Program:
    """A process that runs `main`, on the loop of that name."""
    without = "process.loop_factory = lambda: None" if loop == "asyncio" else ""
    code = (
        dedent(main)
        + f"\nfrom pog.process import run as process\n{without}\nprocess.run(main)\nprint('clean', flush=True)\n"
    )
    return Program([sys.executable, "-c", "import asyncio, logging, time\nlogging.basicConfig(level='INFO')\n" + code])


PATIENT = """
async def main(shutdown):
    print(type(asyncio.get_running_loop()).__module__, flush=True)
    await shutdown.wait()
    print("ending", flush=True)
"""
STUBBORN = (
    PATIENT
    + """
    await asyncio.Event().wait()
"""
)
STUCK = (
    PATIENT
    + """
    while True:
        time.sleep(0.01)
"""
)


@LOOPS
@pytest.mark.parametrize("number", process.ENDING)
def test_the_first_signal_asks_for_an_end_and_the_status_is_0(loop: str, number: signal.Signals) -> None:
    running = program(loop, PATIENT)
    running.wait_line(f"^{loop}")
    running.send_signal(number)
    assert running.wait() == 0
    assert running.stdout[1:] == ["ending", "clean"]
    assert f"{number.name}: ending" in running.output()


@LOOPS
@pytest.mark.parametrize("main", [STUBBORN, STUCK], ids=["stubborn", "stuck"])
def test_the_second_signal_exits_now_even_when_the_loop_is_stuck(loop: str, main: str) -> None:
    running = program(loop, main)
    running.wait_line(f"^{loop}")
    running.send_signal(signal.SIGTERM)
    running.wait_line("^ending")
    running.send_signal(signal.SIGINT)
    assert running.wait() == 128 + signal.SIGINT
    assert "clean" not in running.stdout
    running.check_output()


def test_what_main_raises_comes_out() -> None:
    async def main(shutdown: asyncio.Event) -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        process.run(main)


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        process.raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


INFINITY = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "kernel", "expected"),
    [
        pytest.param(256, INFINITY, 10_240, 10_240, id="macOS, unlimited"),
        pytest.param(256, INFINITY, 122_880, 122_880, id="a newer macOS"),
        pytest.param(1024, 1_048_576, 65_535, 65_535, id="a hard limit above the kernel's"),
        pytest.param(1024, 4096, 1_048_576, 4096, id="the hard limit"),
        pytest.param(1024, 1025, 1024, 1024, id="nothing more"),
        pytest.param(4096, 4096, 4096, 4096, id="nothing to do"),
        pytest.param(INFINITY, INFINITY, 10_240, INFINITY, id="unlimited"),
    ],
)
def test_the_most_descriptors_that_the_system_grants(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, kernel: int, expected: int
) -> None:
    limits = soft, hard

    def set_limit(_: int, wanted: tuple[int, int]) -> None:
        nonlocal limits
        if not 0 <= wanted[0] <= kernel:
            raise ValueError("current limit exceeds maximum limit")
        limits = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    process.raise_descriptor_limit()
    assert limits == (expected, hard)
