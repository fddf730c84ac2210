#!/usr/bin/env bash
# jobflow 0.4.0 with FireWorks 2.1.4 and monty 2026.10.21: a pydantic model in a field of a
# dataclass Maker goes through run_locally as it is, and reaches a firework as its repr, a text
# ("a=2"). Nothing is said until the job uses it. Arguments of make() are kept. The workflow is
# built by flow_to_workflow and read again as from the launchpad; no database is needed to see it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q jobflow==0.4.0 FireWorks==2.1.4 monty==2026.10.21 maggma==0.77.1 pydantic==2.14.4 setuptools==80.9.0
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import json
import sys
import types

SOURCE = """
from dataclasses import dataclass, field
from jobflow import Maker, job
from pydantic import BaseModel

class Settings(BaseModel):
    a: int = 1

@dataclass
class MyMaker(Maker):
    name: str = "mine"
    one: Settings = field(default_factory=Settings)
    many: list = field(default_factory=lambda: [Settings(a=2)])

    @job
    def make(self, argument):
        return [type(self.one).__name__, type(self.many[0]).__name__, type(argument).__name__]
"""
open("mine.py", "w").write(SOURCE)
sys.path.insert(0, ".")
from fireworks import Workflow
from jobflow import Flow, run_locally
from jobflow.managers.fireworks import flow_to_workflow
from mine import MyMaker, Settings

local = MyMaker().make(Settings(a=5))
output = run_locally(local, log=False)[local.uuid][1].output
print("run_locally:", output)
spec = flow_to_workflow(Flow([MyMaker().make(Settings(a=5))])).to_dict()
job = Workflow.from_dict(json.loads(json.dumps(spec, default=str))).fws[0].tasks[0]["job"]
print("FireWorks:  ", repr(job.maker.one), repr(job.maker.many), repr(job.function_args))
assert output == ["Settings"] * 3, "run_locally has changed"
assert job.maker.one == "a=1" and job.maker.many == ["a=2"] and job.function_args[0].a == 5, "FireWorks has changed"
PY
