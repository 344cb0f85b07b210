"""ScanQA for lmms-eval: the names that the YAML files of this folder use."""

from video3d_plugin.hosts.lmms_eval.tasks import SceneTask

task = SceneTask("scanqa")

docs_val = task.docs("val")
docs_test_w_obj = task.docs("test_w_obj")
docs_test_wo_obj = task.docs("test_wo_obj")
docs_mini = task.docs("val", mini=True)
visual, text, target = task.visual, task.text, task.target
process_results, aggregate = task.process_results, task.aggregate

submission_items = task.submission_items
write_test_w_obj, write_test_wo_obj = task.write_submission("test_w_obj"), task.write_submission("test_wo_obj")
