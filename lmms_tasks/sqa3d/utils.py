"""SQA3D for lmms-eval: the names that the YAML files of this folder use."""

from video3d_plugin.hosts.lmms_eval.tasks import SceneTask

task = SceneTask("sqa3d")

docs_test = task.docs("test")
docs_val = task.docs("val")
docs_mini = task.docs("test", mini=True)
visual, text, target = task.visual, task.text, task.target
process_results, aggregate = task.process_results, task.aggregate
