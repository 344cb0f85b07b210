"""From files to SceneInputs: readers, proposals, preparation, the data folder and its store."""
