"""A real Git repository to build policies from."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.policy.support import OPEN

RULES = OPEN.replace("EFFECT", "allow")
TESTS = """package handrail_test

import data.handrail

test_known if {
	some decision in handrail.decisions with input as {"steps": [{"id": "s", "hand": "known"}]}
	decision.effect == "allow"
}
"""
GOOD = {"policies/handrail/main.rego": RULES, "policies/handrail/main_test.rego": TESTS}


class Repository:
    """``git`` in a directory, as an author uses it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ann",
            "GIT_AUTHOR_EMAIL": "ann@example.org",
            "GIT_COMMITTER_NAME": "Ann",
            "GIT_COMMITTER_EMAIL": "ann@example.org",
        }
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def commit(self, files: Mapping[str, str] | None = None, message: str = "Change the policy") -> str:
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def tree(self, entries: str) -> str:
        """A tree of these lines (``mode kind id<tab>name``), whatever they say."""
        made = subprocess.run(
            ["git", "mktree"], cwd=self.path, input=entries, check=True, capture_output=True, text=True
        )
        return made.stdout.strip()

    def plumb(self, mode: str, name: str, content: bytes = b"x", object_id: str | None = None) -> str:
        """A commit with an entry that no ordinary command would make, beside what is there."""
        if object_id is None:
            made = subprocess.run(
                ["git", "hash-object", "-w", "--stdin"], cwd=self.path, input=content, check=True, capture_output=True
            )
            object_id = made.stdout.decode().strip()
        self.git("update-index", "--add", "--cacheinfo", f"{mode},{object_id},{name}")
        tree = self.git("write-tree")
        return self.git("commit-tree", "-m", "odd", "-p", "HEAD", tree)
