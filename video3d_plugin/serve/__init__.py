"""`video3d serve`: scenes, questions and boxes in a browser. `desk` does the work, `app` is the web page over it."""
