"""How a small model with random weights is trained: the stages, their data and their losses.

    stages                 the stages of a run, for `video3d_plugin.training`
    annotations            what benchmark questions are about, from the annotations in the data folder
    augment                turns and shifts a scene
    vocabulary             labels and attributes of objects as the language model's word vectors
    object_questions       short questions about every annotated object
    vision_pretraining     first stage: vision tower and projector
    phrases                generated phrases about a scene's objects
    question_phrases       phrases made from benchmark questions
    phrase_rows            phrases as token ids
    scene_supervision      targets of the attention supervision for one scene
    supervision_dataset    scenes with their supervision, and questions beside them
    attention_losses       losses on attention
    attention_supervision  the module of the second and later stages, with all its losses

docs/small_model.md says what each part is for and what it brought.
"""
