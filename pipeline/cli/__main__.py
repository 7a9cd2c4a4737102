"""``python -m squall.pipeline.cli`` is the command `squall`."""

from squall.pipeline.cli.main import script

if __name__ == "__main__":
    script()
