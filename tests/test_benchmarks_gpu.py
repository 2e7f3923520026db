"""The command for a GPU machine: stages that pass, fail, take too long, and are not repeated."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("benchmark_gpu", FOLDER / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def python(code, **options):
    """Arguments of a stage that runs code, in which ``out`` is the file of the result."""
    head = "import sys, time, json; out = sys.argv[1]; "

    def command(out, limit, results):
        return [sys.executable, "-S", "-c", head + code, out]

    return {"command": command, "limit": 100.0, **options}


WRITES = "print('measured'); open(out, 'w').write(json.dumps({'ms': 3}))"


def test_a_stage_that_fails_shows_why_and_the_next_goes_on(gpu, tmp_path, capsys):
    chosen = [
        gpu.Stage("broken", **python("print(*range(50), sep='\\n'); raise ValueError('no such size')", lines=1)),
        gpu.Stage("sound", **python(WRITES)),
    ]
    records = gpu.run_stages(chosen, 9, tmp_path)
    assert [record["state"] for record in records] == ["failed", "passed"]
    assert [record["result"] for record in records] == [None, {"ms": 3}]
    printed = capsys.readouterr().out
    assert "ValueError: no such size" in printed
    assert "\n49\n" in printed  # its last 30 lines
    assert "\n9\n" not in printed
    assert "measured" in printed
    assert records == gpu.read_lines(tmp_path / "results.jsonl")
    assert "\n9\n" in (tmp_path / "log.txt").read_text()


def test_a_stage_that_takes_too_long_ends_with_its_children_and_keeps_what_it_wrote(gpu, tmp_path):
    late = tmp_path / "late"
    child = f"import time; time.sleep(0.7); open({str(late)!r}, 'w')"
    code = f"import subprocess; subprocess.Popen([sys.executable, '-S', '-c', {child!r}]); "
    code += 'open(out, \'w\').write(\'{"ms": 1}\\n{"ms": 2}\\n{"m\'); time.sleep(60)'
    start = time.monotonic()
    (record,) = gpu.run_stages([gpu.Stage("slow", **python(code, limit=0.3))], 9, tmp_path)
    assert time.monotonic() - start < 5
    assert record["state"] == "cut off"
    assert record["result"] == [{"ms": 1}, {"ms": 2}]
    time.sleep(0.7)
    assert not late.exists()


@pytest.fixture(autouse=True)
def hardly_any_time_is_enough(gpu, monkeypatch):
    monkeypatch.setattr(gpu, "LEAST", 0.1)


def test_the_table_gets_what_the_others_leave(gpu, tmp_path, monkeypatch):
    given = []

    def command(out, limit, results):
        given.append((limit, results))
        return None

    chosen = [gpu.Stage(name, command, limit) for name, limit in (("a", 60), ("table", None), ("b", 120))]
    gpu.run_stages(chosen, 4.5, tmp_path)  # half of the time
    assert [limit for limit, _ in given] == pytest.approx([30, 4.5 * 60 - 60, 60], abs=1)
    assert given[2][1] == {"a": None, "table": None}
    gpu.run_stages(chosen, 1.8, tmp_path / "short")  # a fifth, and half the limits
    assert [limit for limit, _ in given[3:]] == pytest.approx([30, 1.8 * 60 - 24, 60], abs=1)
    records = gpu.run_stages(chosen, 0, tmp_path / "other")
    assert [record["state"] for record in records] == ["no time"] * 3


def test_what_has_passed_is_not_repeated(gpu, tmp_path, capsys):
    chosen = [
        gpu.Stage("one", **python(WRITES, show=lambda result: [f"{result['ms']} ms"])),
        gpu.Stage("two", **python("raise SystemExit(not open('never'))")),
        gpu.Stage("more", **python("print('adds to what it has')", resumes=True)),
    ]
    gpu.run_stages(chosen, 9, tmp_path)
    assert "3 ms" in capsys.readouterr().out
    seen = {}
    chosen[1] = gpu.Stage("two", lambda out, limit, results: seen.update(results), 60)
    records = gpu.run_stages(chosen, 9, tmp_path)
    assert seen == {"one": {"ms": 3}}
    printed = capsys.readouterr().out
    assert "one: has passed before" in printed
    assert "adds to what it has" in printed
    assert [record["state"] for record in records] == ["passed", "nothing to run", "passed"]
    assert [line["stage"] for line in gpu.read_lines(tmp_path / "results.jsonl")] == [
        "one",
        "two",
        "more",
        "two",
        "more",
    ]


def test_without_a_device_nothing_else_begins(gpu, tmp_path):
    chosen = [gpu.Stage("device", **python("raise SystemExit(1)", required=True)), gpu.Stage("next", **python(WRITES))]
    assert [record["stage"] for record in gpu.run_stages(chosen, 9, tmp_path)] == ["device"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_stage_names_a_script_and_options_that_it_has(gpu, tmp_path, device, monkeypatch):
    args = gpu.argparse.Namespace(device=device, data="somewhere", jobs=8, out=tmp_path)
    graphs = {"graphs": {"agrees": True, "graphs ms": 2.0, "eager ms": 12.0}}
    commands = {stage.name: stage.command("result.json", 300.0, graphs) for stage in gpu.stages(args)}
    assert next(iter(commands)) == "device"
    for command in commands.values():
        script = Path(command[1])
        if script.suffix == ".py":
            text = script.read_text()
            assert all(f'"{option}"' in text for option in command[2:] if option.startswith("--"))
    assert "--graphs" in commands["table"]
    assert commands["table"][-3:-1] == ["--out", str(tmp_path / "table.jsonl")]
    (limit,) = (float(b) for a, b in zip(commands["table"], commands["table"][1:], strict=False) if a == "--minutes")
    assert 60 * limit < 300.0  # its report needs time, too
    slow = {"graphs": {"agrees": False, "graphs ms": 2.0, "eager ms": 12.0}}
    table = next(stage for stage in gpu.stages(args) if stage.name == "table")
    assert "--graphs" not in table.command("result.json", 300.0, slow)


def test_the_table_needs_data_on_a_gpu(gpu, tmp_path):
    args = gpu.argparse.Namespace(device="cuda", data=None, jobs=8, out=tmp_path)
    table = next(stage for stage in gpu.stages(args) if stage.name == "table")
    assert table.command("result.json", 300.0, {}) is None


def test_unknown_stages(gpu, tmp_path, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--only", "tests,tabel", "--out", str(tmp_path)])
    assert "no stage tabel" in capsys.readouterr().err


def test_what_is_said_of_the_transport(gpu):
    records = [
        {"what": "start", "device": "a GPU"},
        {"what": "matmul", "seconds": 0.08},
        {"what": "plain", "seconds": 0.12, "ratio": 1.5, "error_max": 2e-4, "peak_bytes": 2**31},
        {"what": "fused", "failed": "RuntimeError: too large"},
    ]
    lines = gpu.transport_lines(records)
    assert [line.split()[0] for line in lines] == ["matmul", "plain", "fused:"]
    assert "1.50 x matmul, relative error at most 2.0e-04, 2.0 GiB" in lines[1]
    assert "too large" in lines[2]


def test_a_file_of_results_that_was_cut_off(gpu, tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({"stage": "one"}) + '\n{"stage": "tw')
    assert gpu.read_lines(path) == [{"stage": "one"}]
    assert gpu.read_result(tmp_path / "none.json") is None
