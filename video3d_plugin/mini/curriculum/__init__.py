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
    supervision_dataset    targets of the attention supervision, scene by scene
    attention_supervision  the loss on attention and hidden states

docs/small_model.md says what each part is for and what it brought.
"""
