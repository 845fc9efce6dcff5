"""What every command of this project does the same way: recipes, error messages, atomic files, run records.

This file is carried by several stages, byte-identical; edit one copy and run `bash slurm/sync_copies.sh PATH`.

A stage that writes an artefact ends by writing its record (`manifest.json` or `run.json`) with `write_json`:
a record that is present means that the artefact is complete.
"""

import argparse
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

VERSIONS_RECORDED = ("torch", "transformers", "tokenizers", "peft", "accelerate", "deepspeed", "datasets", "pyarrow")


class InputError(Exception):
    """Invalid input or settings. The message says what is wrong, where (path:line) and how to fix it."""


def run_command(main: Callable[[], int | None]) -> None:
    """Run an entry script's `main` and exit: 2 for invalid input and 1 for a full disk, each with one message."""
    name = Path(sys.argv[0]).name
    try:
        sys.exit(main() or 0)
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever reads our output has stopped, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if not is_disk_full(error):
            raise
        print(
            f"{name}: no space left on the disk ({error}); free some and run the same command again to resume",
            file=sys.stderr,
        )
        sys.exit(1)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, means that the disk or the quota is full.

    Libraries wrap the operating system's error in their own types; torch's writer reports only that it failed.
    """
    signs = ("No space left on device", "Disk quota exceeded", "os error 28", "enforce fail at inline_container")
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(sign in str(error) for sign in signs):
            return True
        error = error.__cause__ or error.__context__
    return False


def parse_arguments(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> argparse.Namespace:
    """Parse a command line with `--recipe FILE`: defaults < recipe < command line.

    A recipe is a flat YAML file whose keys are the parser's long options (`learning_rate` or `learning-rate`).
    Errors: InputError if the recipe is missing or not flat, or has an unknown key or an invalid value.
    """
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--recipe", type=Path)
    recipe = finder.parse_known_args(argv)[0].recipe
    if recipe is not None:
        import yaml

        try:
            values = yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise InputError(f"cannot read the recipe {recipe}: {error}") from None
        if not isinstance(values, dict):
            raise InputError(f"{recipe}: expected a flat list of `flag: value` lines")
        actions = {a.dest: a for a in parser._actions if a.option_strings and a.dest not in ("help", "recipe")}
        for key, value in values.items():
            action = actions.get(str(key).replace("-", "_"))
            if action is None:
                raise InputError(f"{recipe}: unknown key {key!r}; known are {', '.join(sorted(actions))}")
            parser.set_defaults(**{action.dest: _recipe_value(recipe, action, value)})
            action.required = False
    return parser.parse_args(argv)


def _recipe_value(recipe: Path, action: argparse.Action, value):
    """One recipe value, converted and validated as on the command line."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        if not isinstance(value, bool):
            raise InputError(f"{recipe}: {action.dest} must be true or false, not {value!r}")
        return value
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    try:
        items = [action.type(str(item)) if action.type else item for item in items]
    except (ValueError, argparse.ArgumentTypeError):
        raise InputError(f"{recipe}: invalid value {value!r} for {action.dest}") from None
    if action.choices is not None and any(item not in action.choices for item in items):
        raise InputError(f"{recipe}: {action.dest} must be one of {', '.join(map(str, action.choices))}, not {value!r}")
    takes_list = action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction)
    if takes_list != isinstance(value, list):
        raise InputError(f"{recipe}: {action.dest} takes {'a list' if takes_list else 'one value'}, not {value!r}")
    return items if takes_list else items[0]


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically: to a temporary file, flushed to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON, atomically (see `write_text`)."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def read_json(path: Path) -> dict:
    """Read a JSON object. Errors: InputError naming the file and line."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}:{getattr(error, 'lineno', 1)}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}:1: expected a JSON object")
    return value


def sha256_of_file(path: Path) -> str:
    """The file's SHA-256 in hex, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def describe_files(root: Path, paths: Iterable[Path]) -> dict[str, dict]:
    """{path relative to root: {"bytes", "sha256"}}, sorted by path; recorded for inputs and outputs."""
    return {
        path.relative_to(root).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for path in sorted(paths)
    }


def provenance(argv: list[str] | None = None) -> dict:
    """How an artefact was made: command, commit ("+changes" on a dirty tree), versions, machine, time (UTC)."""
    versions = {"python": platform.python_version()}
    for name in VERSIONS_RECORDED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False)
        except OSError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD") or "unknown"
    if commit != "unknown" and git("status", "--porcelain", "--untracked-files=no"):
        commit += "+changes"
    arguments = sys.argv[1:] if argv is None else argv
    return {
        "command": " ".join(["python", _shown_script(here), *map(str, arguments)]),
        "commit": commit,
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _shown_script(here: Path) -> str:
    """The entry script relative to the project's root, such as finetune/train.py."""
    script = Path(sys.argv[0]).resolve()
    return f"{here.name}/{script.name}" if script.parent == here else script.name


def finished_record(path: Path, arguments: dict, inputs: dict) -> dict | None:
    """The record at `path` if the artefact is complete and was made from the same arguments and inputs, else None.

    arguments, inputs: JSON values that determine the output (no output paths, no worker counts).
    Errors: InputError if the existing record has different arguments or inputs, because resuming would mix two runs.
    """
    if not path.exists():
        return None
    record = read_json(path)
    for name, wanted in (("arguments", arguments), ("inputs", inputs)):
        had, wanted = record.get(name), json.loads(json.dumps(wanted, default=str))
        if had != wanted:
            keys = sorted(k for k in {*(had or {}), *wanted} if (had or {}).get(k) != wanted.get(k))
            raise InputError(
                f"{path.parent} contains a run with different {name} ({', '.join(keys)}); "
                "use another --out, or delete that folder to start again"
            )
    return record
