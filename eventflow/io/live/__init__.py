"""Live doors: sources and sinks behind a URI, with a position to go on from; event cameras over a network.

An event camera is received with :func:`eventflow.io.open_camera` (or ``open_recording``), as a
:class:`~eventflow.io.CameraStream` whose chunks and windows are those of a recording; with ``open_source`` (and so
``eventflow stream --source``) as one JSON line an event; and sent with ``open_sink``, whose :class:`CameraSink` also
takes whole chunks.

    udp://host:port?format=F    datagrams that arrive there (host: this machine's address; 0.0.0.0: any of them)
    tcp://host:port?format=F    a stream; one producer, which connects
    camera://metavision         a camera, by the Metavision SDK: untested, no camera was at hand
    camera://dv                 a camera, by dv-processing: untested; ?connect=host:port, its network reader: tested

    format    spif (AEStream, SpiNNaker; without times: the time of arrival, in us since 1970), t64 (faery's 13 bytes),
              t32 (faery's 8 bytes), evt2, evt3
    width, height     of the sensor; events outside are impossible
    idle      seconds without anything after which the stream has ended; otherwise it never does
    buffer    bytes of the kernel's receive buffer (udp), 16 MiB; a note says so where the system gives less
    datagram  the longest datagram (udp), 2048; longer ones are left out and counted
    key       camera (all events have this key) or pixel ("x,y"), in JSON lines
    stamps, events    when sending: 0 for SPIF without times; events of a datagram

Loss is counted by cause (``CameraStream.counts``): dropped by the kernel, truncated, late, malformed. Raw EVT words
count on those before them: where the kernel tells of a loss, no event is told before they have come again; a loss on
the way, which nothing tells of, may cost the words up to the next TIME_HIGH or row.
"""
