"""Makes the API reference of the docstrings, HTML that needs no network to be made or read.

python docs/reference.py [FOLDER], by default docs/api
"""

import pkgutil
import sys
from pathlib import Path

import pdoc

import load_tf

ROOT = Path(__file__).resolve().parents[1]


def main(folder: Path) -> None:
    """Writes a page for each module, an index and a search."""
    for name in load_tf.__all__:
        # pdoc looks into the module's dictionary, where these names only are once they have been used.
        setattr(load_tf, name, getattr(load_tf, name))
    # pdoc takes `__all__` for all that a package holds, but a reader also looks for the rooms.
    load_tf.__all__ += [room.name for room in pkgutil.iter_modules(load_tf.__path__)]
    pdoc.render.configure(docformat="google", footer_text=f"load_tf {load_tf.__version__}")
    # `__main__` only starts a command.
    pdoc.pdoc("load_tf", r"!load_tf\..*__main__", output_directory=folder)
    print(f"written: {folder / 'index.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/api")
