"""What `state.json` holds, whether all it names is still there, and the commit before it to fall back on."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from load_tf.errors import UserError
from load_tf.storage.arrays import find_damage

NEWEST, BEFORE = "state.json", "state.previous.json"


class Found(NamedTuple):
    """What a run directory stands at."""

    state: dict[str, Any]
    """The newest commit that is whole; empty where there was none yet."""
    previous: dict[str, Any]
    """The commit before it, if it is kept; whether its files are whole was not looked at."""
    damage: str | None
    """Why it is not the newest commit that was made, in a sentence without full stop."""


def encode(state: Mapping[str, Any]) -> bytes:
    """A state as the content of a file that carries its own checksum."""
    text = json.dumps(state)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "state": text}).encode()


def decode(data: bytes) -> dict[str, Any]:
    """Undoes `encode`. Raises ValueError if the data are not what it wrote."""
    try:
        found = json.loads(data)
        text = found["state"]
        if hashlib.sha256(text.encode()).hexdigest() != found["sha256"]:
            raise ValueError("wrong checksum")
        return dict(json.loads(text))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def is_there(root: Path) -> bool:
    """Whether a folder holds a state that can be read, and so is a run's."""
    for name in (NEWEST, BEFORE):
        try:
            decode((root / name).read_bytes())
        except (OSError, ValueError):
            continue
        return True
    return False


def find(root: Path) -> Found:
    """The newest commit of which everything is whole.

    Raises:
      UserError: if neither the newest commit nor the one before it is.
    """
    newest, damage = _read(root, NEWEST)
    before, before_damage = _read(root, BEFORE)
    if damage is None and newest is not None:
        return Found(newest, before or {}, None)
    if damage is None and before is None and before_damage is None:
        return Found({}, {}, None)
    damage = damage or f"{root / NEWEST} is gone"
    if before is not None and before_damage is None:
        return Found(before, before, damage)
    other = f" ({before_damage})" if before_damage and before_damage != damage else ""
    raise UserError(
        f"{damage}; the commit before it can't be used either{other}: put the file back, or start a new run directory."
    )


def _read(root: Path, name: str) -> tuple[dict[str, Any] | None, str | None]:
    """A state and what is wrong with it or with what it names; neither where there is no such file."""
    file = root / name
    try:
        state = decode(file.read_bytes())
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise UserError(f"{file} can't be read: {error.strerror}.") from None
    except ValueError:
        return None, f"{file} is damaged: it is not what was written"
    if not _is_state(state):
        return None, f"{file} is damaged: it is not what a run writes"
    for entry in state["files"].values():
        if damage := find_damage(entry, root):
            return state, damage
    return state, _journal_damage(root / "journal.jsonl", state["journal"])


def _is_state(state: Mapping[str, Any]) -> bool:
    """Whether it names nothing but files of its own folder, and everything is of the type it is to be."""
    try:
        files, journal = state["files"], state["journal"]
        return (
            isinstance(state["commit"], int)
            and isinstance(state.get("phase", ""), str)
            and all(
                re.fullmatch(r"(checkpoints|label_maps)/[\w.@-]+\.arrays", entry["path"], re.ASCII)
                and _is_digest(entry["sha256"])
                and _is_size(entry["bytes"])
                for entry in files.values()
            )
            and _is_size(journal["bytes"])
            and _is_digest(journal["sha256"])
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _journal_damage(journal: Path, known: Mapping[str, Any]) -> str | None:
    try:
        with open(journal, "rb") as file:
            data = file.read(known["bytes"])
    except FileNotFoundError:
        return f"{journal} is gone" if known["bytes"] else None
    except OSError as error:
        return f"{journal} can't be read ({error.strerror})"
    if hashlib.sha256(data).hexdigest() == known["sha256"]:
        return None
    return f"{journal} is damaged: its first {known['bytes']} bytes are not those that were committed"
