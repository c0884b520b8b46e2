#!/usr/bin/env python3
"""Clients and upstreams of protocols that are tested with the libraries that people use.

    clients.py websocket serve            prints its port, echoes every message
    clients.py websocket talk URL         sends messages and checks their echoes
    clients.py grpc serve                 prints its port, serves echo.Echo
    clients.py grpc talk HOST:PORT [CA]   makes calls of all four kinds; with TLS where there is a CA

Exits with 0 when all was as it should be. A server ends when its standard input does.
"""

import sys
import threading


def websocket_serve():
    from websockets.sync.server import serve

    def echo(connection):
        for message in connection:
            if message == "close":
                connection.close(4000, "as asked")
                return
            connection.send(message)

    with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print(server.socket.getsockname()[1], flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()


def websocket_talk(url):
    from websockets.exceptions import ConnectionClosedError
    from websockets.sync.client import connect

    with connect(url, max_size=None) as connection:
        for message in ["hello", b"\x00\xff", "x" * (1 << 20), ""]:
            connection.send(message)
            assert connection.recv() == message
        # Pings go to the other end and back.
        assert connection.ping().wait(10)
        connection.send(["a", "b", "c"])
        assert connection.recv() == "abc"
        connection.send("close")
        try:
            connection.recv()
            raise AssertionError("it goes on")
        except ConnectionClosedError as closed:
            assert closed.rcvd.code == 4000, closed


def grpc_serve():
    import grpc
    from concurrent.futures import ThreadPoolExecutor

    def unary(request, context):
        context.set_trailing_metadata((("x-sum", str(len(request))),))
        if request == b"missing":
            context.abort(grpc.StatusCode.NOT_FOUND, "nothing there")
        return request

    def stream(request, context):
        for _ in range(100):
            yield request

    def collect(requests, context):
        return b"".join(requests)

    def both(requests, context):
        for request in requests:
            yield request

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


def grpc_talk(target, ca=None):
    import grpc

    if ca:
        with open(ca, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        options = [("grpc.ssl_target_name_override", "a.example")]
        channel = grpc.secure_channel(target, credentials, options)
    else:
        channel = grpc.insecure_channel(target)
    path = "/echo.Echo/"
    unary = channel.unary_unary(path + "Unary")
    for size in [0, 5, 1 << 20]:
        reply, call = unary.with_call(b"x" * size, timeout=30)
        assert reply == b"x" * size
        assert dict(call.trailing_metadata())["x-sum"] == str(size)
    try:
        unary(b"missing", timeout=30)
        raise AssertionError("it was found")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert error.details() == "nothing there"
    replies = list(channel.unary_stream(path + "Stream")(b"y", timeout=30))
    assert replies == [b"y"] * 100
    reply = channel.stream_unary(path + "Collect")(iter([b"a", b"b", b"c"]), timeout=30)
    assert reply == b"abc"
    # Each message is sent once the one before it came back.
    came = threading.Semaphore(1)

    def requests():
        for number in range(50):
            assert came.acquire(timeout=30)
            yield b"%d" % number

    for number, reply in enumerate(channel.stream_stream(path + "Both")(requests(), timeout=30)):
        assert reply == b"%d" % number
        came.release()
    assert number == 49


if __name__ == "__main__":
    name = "_".join(sys.argv[1:3])
    globals()[name](*sys.argv[3:])
