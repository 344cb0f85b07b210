"""From files to SceneInputs: readers, annotations, preparation, the data folder and its store."""
