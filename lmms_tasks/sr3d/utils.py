"""Sr3D for lmms-eval: the names that the YAML file of this folder uses."""

from video3d_plugin.hosts.lmms_eval.tasks import SceneTask

task = SceneTask("sr3d")

docs_test = task.docs("test")
visual, text, target = task.visual, task.text, task.target
process_results, aggregate = task.process_results, task.aggregate
