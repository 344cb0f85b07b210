"""`video3d serve`: scenes, questions and boxes in a browser.

    app          the HTTP API and the page
    middleware   guards of the API
    server       the process, with bounds on connections
    service      questions, answers and viewer pages, independent of HTTP
    scenes       scans and uploads in memory
    progress     how far a reading has come
    reading      reads a scan or an upload, in a worker process
    worker       worker processes with bounds on time and memory
    limits       bounds on uploads and on concurrent work

docs/security.md describes what the server protects against.
"""
