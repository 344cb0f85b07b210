"""Scan2Cap for lmms-eval: the names that the YAML files of this folder use."""

from video3d_plugin.hosts.lmms_eval.tasks import SceneTask

task = SceneTask("scan2cap")

docs_val = task.docs("val")
docs_mini = task.docs("val", mini=True)
visual, text, target = task.visual, task.text, task.target
process_results, aggregate = task.process_results, task.aggregate
