"""What no line of this project does: unpickle, run text as code, start a shell, unpack archives by their names.

Names are followed through imports (``import pickle as p; p.loads``, ``from torch import load``), not through
variables: the rule is for those who write the code, not against them.
"""

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

REPO = Path(__file__).resolve().parents[2]

# Names that run what a file, a text or a peer says, or unpack archives where these want to be. All below them too.
NAMES = (
    "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle",
    "torch.load", "torch.save", "torch.hub", "torch.package", "torch.jit.load", "torch.serialization.load",
    "torch.utils.model_zoo", "torch.distributed.rpc", "torch.distributed.checkpoint.FileSystemReader",
    "torch.distributed.checkpoint.FileSystemWriter", "torch.distributed.checkpoint.filesystem",
    "torch.distributed.checkpoint.format_utils", "numpy.lib.format.read_array", "pandas.read_pickle",
    "eval", "exec", "compile", "__import__", "builtins", "importlib.import_module",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all",
    "yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader", "yaml.CLoader", "yaml.CFullLoader", "yaml.CUnsafeLoader",
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "shutil.unpack_archive",
)  # fmt: skip

# Methods and functions that are banned whatever has them, for the types of variables are not known here.
ANYWHERE = (
    "extract", "extractall", "merge_from_file",
    "all_gather_object", "broadcast_object_list", "gather_object", "scatter_object_list",
    "send_object_list", "recv_object_list",
)  # fmt: skip

# Arguments that may be given as False alone.
ARGUMENTS = ("allow_pickle", "shell", "trust_remote_code")

# torch.distributed.checkpoint pickles unless another storage is handed to it, such as its safetensors one.
CHECKPOINT = "torch.distributed.checkpoint."
STORAGE = {
    "save": "storage_writer", "async_save": "storage_writer", "save_state_dict": "storage_writer",
    "load": "storage_reader", "load_state_dict": "storage_reader",
}  # fmt: skip

EXCEPTIONS = {
    (
        "swin_train/weights/torch_file.py",
        "torch.load",
    ): "the one importer; weights_only=True, and refuses the rest",
    (
        "swin_train/weights/write.py",
        "torch.save",
    ): "the layouts of others are .pth files; plain tensors alone",
    ("swin_train/weights/download.py", "torch.hub.get_dir"): "where its cache lies; nothing is loaded by it",
    (
        "swin_train/data/shared_batches.py",
        "pickle",
    ): "messages between a process and the workers that it forked",
    ("swin_train/data/shared_batches.py", "pickle.Pickler"): "as above",
    ("swin_train/data/shared_batches.py", "pickle.HIGHEST_PROTOCOL"): "as above",
    ("swin_train/data/shared_batches.py", "pickle.loads"): "as above",
    ("swin_train/__init__.py", "importlib.import_module"): "of modules that a table in it names",
    (
        "swin_train/config/node.py",
        "merge_from_file",
    ): "YACS's own, which would run a .py file, made a refusal",
    (
        "swin_train/benchmark/loading/chains.py",
        "PIL.Image.open without formats",
    ): "measures what peers do, on one's own data",
    ("benchmarks/make_corpus.py", "PIL.Image.open without formats"): "of packages that it names and checks",
    ("swin_train/kernels/apex.py", "importlib.import_module"): "of apex, by names in the code",
}


class Finding(NamedTuple):
    """A use of what is banned: the line, and its full name, as "torch.load"."""

    line: int
    name: str


def find_banned(source: str) -> list[Finding]:
    """Everything banned in a Python file, in the order of its lines."""
    tree = ast.parse(source)
    finder = _Finder(_imported(tree))
    finder.visit(tree)
    return sorted(set(finder.findings))


def _imported(tree: ast.AST) -> dict[str, str]:
    """What the names that imports bind stand for, wherever in the file these are."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


class _Finder(ast.NodeVisitor):
    def __init__(self, imported: dict[str, str]) -> None:
        self._imported = imported
        self.findings: list[Finding] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._check(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._check(f"{'.' * node.level}{node.module}.{alias.name}", node)

    def visit_Call(self, node: ast.Call) -> None:
        given = {argument.arg: argument.value for argument in node.keywords}
        for argument in ARGUMENTS:
            if argument in given and not _is(False, given[argument]):
                self.findings.append(Finding(node.lineno, argument))
        name = self._full_name(node.func) or ""
        if name == "torch.load" and not _is(True, given.get("weights_only")):
            self.findings.append(Finding(node.lineno, "torch.load without weights_only=True"))
        if name == "PIL.Image.open" and "formats" not in given:  # some of Pillow's readers start programs
            self.findings.append(Finding(node.lineno, "PIL.Image.open without formats"))
        if _needs_storage(name) and STORAGE[name.rpartition(".")[2]] in given:
            for part in (*node.args, *given.values()):
                self.visit(part)
        else:
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._full_name(node)
        self._check(name or f"(...).{node.attr}", node)
        if name is None:  # an attribute of a call, an item, ...
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._check(self._imported.get(node.id, node.id), node)

    def _full_name(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self._imported.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self._full_name(node.value)
            return None if owner is None else f"{owner}.{node.attr}"
        return None

    def _check(self, name: str, node: ast.stmt | ast.expr) -> None:
        is_banned = any(f"{name}.".startswith(f"{banned}.") for banned in NAMES)
        is_native = _needs_storage(name) and not isinstance(node, ast.ImportFrom)  # its calls tell
        if is_banned or is_native or name.rpartition(".")[2] in ANYWHERE:
            self.findings.append(Finding(node.lineno, name))


def _needs_storage(name: str) -> bool:
    return name.startswith(CHECKPOINT) and name.rpartition(".")[2] in STORAGE


def _is(expected: bool, value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is expected


def source_files() -> list[Path]:
    """Every Python file that users run."""
    folders = ("swin_train", "scripts", "benchmarks")
    return [REPO / "main.py", *sorted(file for name in folders for file in (REPO / name).rglob("*.py"))]


def findings() -> dict[tuple[str, str], list[int]]:
    """The lines of all that is banned, by file and name."""
    found: dict[tuple[str, str], list[int]] = {}
    for file in source_files():
        for line, name in find_banned(file.read_text(encoding="utf-8")):
            found.setdefault((str(file.relative_to(REPO)), name), []).append(line)
    return found


def test_nothing_that_is_banned_is_used() -> None:
    assert {use: lines for use, lines in findings().items() if use not in EXCEPTIONS} == {}


def test_every_exception_is_used() -> None:
    assert set(EXCEPTIONS) <= findings().keys()


def test_the_whole_tree_is_looked_at() -> None:
    names = {str(file.relative_to(REPO)) for file in source_files()}

    assert {"main.py", "scripts/demo.py", "benchmarks/make_corpus.py", "swin_train/weights/read.py"} <= names
    assert len(names) > 200


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import pickle", "pickle"),
        ("import pickle as p\nx = p.loads(b'')", "pickle.loads"),
        ("from pickle import Unpickler as U", "pickle.Unpickler"),
        ("def f():\n    import cPickle", "cPickle"),
        ("import dill", "dill"),
        ("from marshal import loads", "marshal.loads"),
        ("import shelve", "shelve"),
        ("from joblib import load", "joblib.load"),
        ("import torch\ntorch.load('x', weights_only=True)", "torch.load"),
        ("import torch as t\nread = t.load", "torch.load"),
        ("from torch import load as read\nread('x')", "torch.load"),
        ("import torch\ntorch.load('x', weights_only=flag)", "torch.load without weights_only=True"),
        ("import torch\ntorch.hub.load_state_dict_from_url(u)", "torch.hub.load_state_dict_from_url"),
        ("import torch.hub", "torch.hub"),
        ("import torch\ntorch.jit.load('x')", "torch.jit.load"),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
        ("import numpy as np\nnp.load('x', allow_pickle=flag)", "allow_pickle"),
        ("from PIL import Image\nImage.open(file).load()", "PIL.Image.open without formats"),
        ("eval('1')", "eval"),
        ("exec(text)", "exec"),
        ("compile(text, '', 'exec')", "compile"),
        ("list(map(eval, texts))", "eval"),
        ("import builtins\nbuiltins.eval('1')", "builtins.eval"),
        ("__import__('os')", "__import__"),
        ("import importlib\nimportlib.import_module(name)", "importlib.import_module"),
        ("import yaml\nyaml.load(text, Loader=yaml.SafeLoader)", "yaml.load"),
        ("import yaml\nyaml.unsafe_load(text)", "yaml.unsafe_load"),
        ("import yaml\nclass L(yaml.FullLoader): pass", "yaml.FullLoader"),
        ("cfg.merge_from_file('x.py')", "cfg.merge_from_file"),
        ("import subprocess\nsubprocess.run('ls', shell=True)", "shell"),
        ("import os\nos.system('ls')", "os.system"),
        ("from os import popen\npopen('ls')", "os.popen"),
        ("import tarfile\ntarfile.open('x').extractall('y', filter='data')", "(...).extractall"),
        ("archive.extract(member)", "archive.extract"),
        ("AutoModel.from_pretrained('x', trust_remote_code=True)", "trust_remote_code"),
        (
            "import torch.distributed.checkpoint as dcp\ndcp.load(state, checkpoint_id='x')",
            f"{CHECKPOINT}load",
        ),
        ("from torch.distributed import checkpoint\ncheckpoint.save(state)", f"{CHECKPOINT}save"),
        ("from torch.distributed.checkpoint import async_save\nasync_save(state)", f"{CHECKPOINT}async_save"),
        (
            "import torch.distributed.checkpoint as dcp\ndcp.save(s, storage_reader=r)",  # not the writer
            f"{CHECKPOINT}save",
        ),
        (
            "from torch.distributed.checkpoint import FileSystemReader",
            f"{CHECKPOINT}FileSystemReader",
        ),
        (
            "import torch.distributed.checkpoint as dcp\ndcp.load(s, storage_reader=dcp.FileSystemReader('x'))",
            f"{CHECKPOINT}FileSystemReader",
        ),
        (
            "import torch.distributed as dist\ndist.all_gather_object(a, b)",
            "torch.distributed.all_gather_object",
        ),
        ("runtime.group().broadcast_object_list([x])", "(...).broadcast_object_list"),
        (
            "from torch.distributed import scatter_object_list",
            "torch.distributed.scatter_object_list",
        ),
    ],
)
def test_what_is_banned_is_found(source: str, name: str) -> None:
    assert name in {finding.name for finding in find_banned(source)}


@pytest.mark.parametrize(
    "source",
    [
        "import pickletools\npickletools.genops(data)",
        "import re\nre.compile('x')",
        "import torch\ntorch.compile(model).eval()",
        "import json\njson.loads('1')",
        "from PIL import Image\nImage.open(file, formats=FORMATS)",
        "import numpy as np\nnp.load('x', allow_pickle=False)\nnp.load('x')",
        "import subprocess\nsubprocess.run(['ls'], shell=False)",
        "import yaml\nyaml.compose(text, Loader=Strict)\nclass Strict(yaml.SafeLoader): pass",
        "import tarfile\ntarfile.open('x').extractfile(member)",
        "import torch.distributed as dist\ndist.all_reduce(x)\ndist.broadcast(x, 0)",
        "import torch.distributed.checkpoint as dcp\n"
        "from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter, load\n"
        "dcp.save(state, storage_writer=HuggingFaceStorageWriter(path))\n"
        "load(state, storage_reader=HuggingFaceStorageReader(path))\n"
        "dcp.state_dict.get_model_state_dict(model)",
        "self.load(x)\nload(x)\nstate.save(x)",
        "from .pickle import x",
    ],
)
def test_what_is_like_it_is_not(source: str) -> None:
    assert find_banned(source) == []


def test_findings_have_their_lines() -> None:
    source = "import torch\n\n\ndef read(path):\n    return torch.load(path, weights_only=True)\n"

    assert find_banned(source) == [Finding(5, "torch.load")]
