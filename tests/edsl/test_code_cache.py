"""Compiled code on disk: where it lies, whose it is, and that it is whole."""

import ctypes
import importlib.util
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import pytest
from problem import gradients, parameters, walk

import edsl
from edsl.errors import EdslWarning
from edsl.kernels import code_cache
from edsl.kernels import cpu as native
from edsl.kernels import toolchain as cxx
from edsl.kernels.code_cache import UnusableCache, cache_folder, kept

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
SOMEBODY, NOBODY = 12345, 65534
HOSTILE = 'extern "C" {{ __attribute__((constructor)) static void ran() {{ fclose(fopen("{marker}", "w")); }} }}'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of this test's own, with nothing in it or in memory."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    cxx.compile_library.cache_clear()
    code_cache._warn.cache_clear()
    yield tmp_path / "edsl"
    cxx.compile_library.cache_clear()
    code_cache._warn.cache_clear()


def step():
    """One native step of SGD; θ after it, and the warnings."""
    cxx.compile_library.cache_clear()  # as in a new process
    params = parameters([(3,)])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        optimizer = edsl.compile("sgd(lr=0.5)", params)
        (found,) = walk(optimizer, params, gradients(1, [(3,)]))
    assert optimizer.engine.native.kernels == 1
    return found[0], [str(one.message) for one in told if issubclass(one.category, EdslWarning)]


def right():
    (theta,), ((gradient,),) = parameters([(3,)]), gradients(1, [(3,)])
    return theta.detach() - 0.5 * gradient


def entry_in(folder):
    (entry,) = folder.iterdir()
    return entry


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HOME": "/home/ada"}, "/home/ada/.cache/edsl/compiled"),
        ({"HOME": "/home/ada", "XDG_CACHE_HOME": "/caches"}, "/caches/edsl/compiled"),
        ({"XDG_CACHE_HOME": "/caches", "TORCHINDUCTOR_CACHE_DIR": "/shared/torch"}, "/shared/torch/edsl"),
        ({"HOME": "/home/ada", "TORCHINDUCTOR_CACHE_DIR": "{tmp}/torchinductor_ada"}, "/home/ada/.cache/edsl/compiled"),
    ],
    ids=["home", "XDG", "the user's word", "what torch sets itself"],
)
def test_it_lies_where_the_guide_says(variables, expected, monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp=tempfile.gettempdir()))
    assert cache_folder() == Path(expected)


def test_what_torch_sets_is_what_is_ignored(monkeypatch):
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())
    assert not cache_folder().is_relative_to(default_cache_dir())


def test_a_second_process_compiles_nothing(folder, monkeypatch):
    step()
    monkeypatch.setattr(cxx, "_compile", None)
    found, told = step()
    assert (found == right()).all()
    assert told == []


def rewritten(library, content):
    """Another file in its place: this process has the old one in its memory."""
    library.unlink()
    library.write_bytes(content)


DAMAGES = {
    "empty": lambda library: rewritten(library, b""),
    "10 bytes": lambda library: rewritten(library, library.read_bytes()[:10]),
    "a page of it missing": lambda library: rewritten(library, library.read_bytes()[:5000]),
    "one byte less": lambda library: rewritten(library, library.read_bytes()[:-1]),
    "text": lambda library: rewritten(library, b"#!/bin/sh"),
    "gone": lambda library: library.unlink(),
    "no checksum": lambda library: library.with_name("sha256").unlink(),
    "a bad checksum": lambda library: library.with_name("sha256").write_bytes(b"\xff"),
    "a folder": lambda library: (library.unlink(), library.mkdir()),
    "a file for the entry": lambda library: (shutil.rmtree(library.parent), library.parent.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_library_is_compiled_anew_once_with_one_warning(damage, folder):
    step()
    damage(entry_in(folder) / cxx.LIBRARY)
    found, told = step()
    assert (found == right()).all()
    assert told == [f"{entry_in(folder)} was damaged: compiling it again"]
    found, told = step()
    assert (found == right()).all()
    assert told == []


@pytest.fixture
def hostile(folder, tmp_path, monkeypatch):
    """A cache where edsl's library would run code when it is loaded, with its checksum; and what shows that it ran."""
    step()
    another = tmp_path / "another"  # where this process has loaded nothing from yet
    shutil.copytree(folder, another / "edsl")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(another))
    library, marker = entry_in(another / "edsl") / cxx.LIBRARY, tmp_path / "ran"
    (tmp_path / "hostile.cpp").write_text("#include <cstdio>\n" + HOSTILE.format(marker=marker))
    subprocess.run(["g++", "-shared", "-fPIC", tmp_path / "hostile.cpp", "-o", library], check=True)
    (library.parent / "sha256").write_text(code_cache._checksum(library))
    return library, marker


def test_the_hostile_library_of_these_tests_would_run(hostile):
    library, marker = hostile
    ctypes.CDLL(str(library))
    assert marker.exists()


@as_root
@pytest.mark.parametrize("somebody", [SOMEBODY, NOBODY])
@pytest.mark.parametrize("whose", ["the folder", "the entry", "the library"])
def test_another_users_library_is_not_loaded(whose, somebody, hostile):
    library, marker = hostile
    place = {"the folder": library.parents[1], "the entry": library.parent, "the library": library}[whose]
    os.chown(place, somebody, somebody)
    found, told = step()
    assert not marker.exists()
    assert (found == right()).all()
    assert len(told) == 1
    assert f"{place} belongs to another user (uid {somebody}); each process compiles them again" in told[0]


@as_root
def test_a_folder_that_another_user_was_faster_to_make_is_not_used(monkeypatch):
    """As an attack goes, where everybody may write and code_cache's name for the folder is known."""
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:
        os.chmod(shared, 0o1777)
        prepared = Path(shared) / "edsl"
        subprocess.run(["mkdir", "-m", "777", prepared], user=SOMEBODY, check=True)
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", shared)
        code_cache._warn.cache_clear()
        found, told = step()
        assert (found == right()).all()
        assert len(told) == 1
        assert f"{prepared} belongs to another user" in told[0]
        assert list(prepared.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_may_write_is_not_used(mode, hostile):
    library, marker = hostile
    folder = library.parents[1]
    folder.chmod(mode)
    found, told = step()
    assert not marker.exists()
    assert (found == right()).all()
    assert len(told) == 1
    assert f"others may write to {folder}: chmod go-w {folder}" in told[0]


@as_root
def test_a_damaged_library_that_cant_be_removed_is_not_loaded(folder, monkeypatch):
    """As where root owns the cache, or on a disk that can't be written."""
    step()
    library = entry_in(folder) / cxx.LIBRARY
    rewritten(library, library.read_bytes()[:8000])
    monkeypatch.setattr(code_cache, "_remove", lambda entry, name: None)
    found, told = step()
    assert (found == right()).all()
    assert any(f"{library.parent} is damaged and can't be removed" in one for one in told)


def test_a_whole_entry_that_another_process_has_just_mended_is_left(folder):
    step()
    entry = entry_in(folder)
    code_cache._remove(entry, cxx.LIBRARY)
    assert code_cache._is_whole(entry, cxx.LIBRARY)
    assert [place.name for place in folder.iterdir()] == [entry.name]


def test_bytecode_beside_a_text_is_not_run(folder):
    from edsl.kernels.module_cache import SOURCE, import_source

    import_source.cache_clear()
    assert import_source("VALUE = 1\n").VALUE == 1
    entry = entry_in(folder)
    cached = Path(importlib.util.cache_from_source(str(entry / SOURCE)))
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(b"\0" * 10)
    import_source.cache_clear()
    assert import_source("VALUE = 1\n").VALUE == 1
    import_source.cache_clear()


def test_a_user_without_a_home_compiles_for_this_process_alone(monkeypatch):
    for name in ("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    code_cache._warn.cache_clear()
    with pytest.warns(EdslWarning, match="there is no home folder: set XDG_CACHE_HOME"):
        assert kept("key", "name", lambda place: place.write_text("made") and None, Path.read_text) == "made"


@as_root
def test_a_folder_below_another_users_is_not_used(folder, tmp_path):
    step()
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    try:
        assert f"{tmp_path}, where {folder} is, belongs to another user" in step()[1][0]
    finally:
        os.chown(tmp_path, 0, 0)


def test_a_folder_below_one_that_everybody_may_write_is_not_used(folder, tmp_path):
    step()
    tmp_path.chmod(0o777)
    assert f"everybody may write to {tmp_path}" in step()[1][0]


def test_a_link_to_ones_own_folder_is_followed(folder, tmp_path):
    step()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert step()[1] == []


def test_a_folder_that_cant_be_made_says_why_and_steps_go_on(folder, tmp_path):
    folder.write_text("")
    found, told = step()
    assert (found == right()).all()
    assert len(told) == 1
    assert f"{folder} can't be made or read (File exists)" in told[0]


def test_a_disk_that_cant_be_executed_from_says_why_and_another_folder_is_used(folder):
    def load(place):
        if place.is_relative_to(folder):
            raise OSError("failed to map segment from shared object: Operation not permitted")
        return place.read_text()

    with pytest.warns(EdslWarning, match="failed to map segment .* each process compiles them again"):
        assert kept("key", "name", lambda place: place.write_text("made") and None, load) == "made"


def test_where_nothing_can_be_loaded_torch_compile_steps_after_one_warning(folder, monkeypatch):
    def fails(place):
        raise OSError("no library loads here")

    monkeypatch.setattr(cxx.ctypes, "CDLL", fails)
    params = parameters([(3,)])
    optimizer = edsl.compile("sgd(lr=0.5)", params, mode="compiled")
    monkeypatch.setattr(optimizer.engine.torch_steps, "mode", "eager")  # torch.compile's own part is tested elsewhere
    with pytest.warns(EdslWarning) as told:
        walk(optimizer, params, gradients(1, [(3,)]))
    assert any(str(one.message).endswith("(no library loads here): using torch.compile") for one in told)
    assert (params[0] == right()).all()


def test_a_compiler_that_fails_is_told_and_torch_compile_steps(folder, monkeypatch):
    monkeypatch.setenv("CXX", "false")
    params = parameters([(3,)])
    optimizer = edsl.compile("sgd(lr=0.5)", params, mode="compiled")
    monkeypatch.setattr(optimizer.engine.torch_steps, "mode", "eager")
    with pytest.warns(EdslWarning, match=r"the C\+\+ compiler failed \(no message\): using torch.compile"):
        walk(optimizer, params, gradients(1, [(3,)]))
    assert isinstance(optimizer.engine.native, native.CpuKernels)
    assert (params[0] == right()).all()


LINES = [f"{number}\n" for number in range(40)]


def _slowly(place):
    with place.open("w") as file:
        for line in LINES:
            file.write(line)
            file.flush()
            time.sleep(0.005)


def _take(results, go):
    go.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.put(kept("key", "name", _slowly, Path.read_text))


def test_eight_processes_at_once_and_a_kill_in_the_middle_leave_it_whole(folder):
    processes = multiprocessing.get_context("fork")
    results, go = processes.Queue(), processes.Event()
    victim = processes.Process(target=_take, args=(results, go))
    others = [processes.Process(target=_take, args=(results, go)) for _ in range(8)]
    for process in (victim, *others):
        process.start()
    go.set()
    time.sleep(0.08)  # it is within its lines
    os.kill(victim.pid, signal.SIGKILL)
    found = [results.get(timeout=30) for _ in others]
    for process in (victim, *others):
        process.join()
    assert set(found) == {"".join(LINES)}
    assert [process.exitcode for process in others] == [0] * 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kept("key", "name", lambda place: pytest.fail("it is there"), Path.read_text) == "".join(LINES)


def test_what_a_killed_process_left_is_removed_after_a_while(folder):
    folder.mkdir(parents=True)
    old, new = folder / "unfinished-old", folder / "unfinished-new"
    for place in (old, new):
        place.mkdir()
    os.utime(old, (0, 0))
    kept("key", "name", lambda place: place.write_text("made") and None, Path.read_text)
    assert not old.exists()
    assert new.exists()


def test_where_no_folder_can_be_used_the_reason_is_raised(folder, monkeypatch, tmp_path):
    folder.write_text("")
    (tmp_path / "also").write_text("")
    monkeypatch.setattr(code_cache, "_private_folder", lambda: tmp_path / "also")
    with pytest.warns(EdslWarning), pytest.raises(UnusableCache, match="can't be made or read"):
        kept("key", "name", lambda place: None, Path.read_text)
