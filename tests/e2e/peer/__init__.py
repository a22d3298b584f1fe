"""A TensorFlow Serving stand-in: real SavedModels, the real TensorFlow runtime, the official stubs.

No ``tensorflow_model_server`` binary can be installed from a package registry. What a gateway can
observe of one is its wire contract, and that is rebuilt here from the pieces that *are* published:
the runtime executes the graphs and words its own errors, the official stubs parse what the gateway
sends, and only the thin layer between the two (request checks, versions, labels) is imitated.

``onnx_graph`` and ``detector`` make a TensorFlow function of the project's ONNX detector, and
``saved_models`` exports it the way the Object Detection API does. ``versions`` loads and swaps what
was exported, ``predict`` answers one request, and ``server`` puts gRPC around the two.
"""
