# Requests http://APP/ about 80 times a second, half over kept connections and half over fresh ones, until /tmp/stop
# exists. Prints counts as one line of JSON. Everything but a 200 is a failure, including a broken connection.
import collections, http.client, json, os, select, sys, threading, time

HOST = sys.argv[1]
lock = threading.Lock()
count = collections.Counter()
bodies = collections.Counter()
failures = []
slowest = 0.0


def ask(connection):
    connection.request("GET", "/", headers={"Connection": "keep-alive"})
    answer = connection.getresponse()
    body = answer.read().decode("utf-8", "replace")
    if answer.status != 200:
        raise RuntimeError("status %d: %s" % (answer.status, body[:200]))
    return body, answer.getheader("Connection", "").lower() == "close" or answer.will_close


# If there is something to read before a request was sent, the server has closed the connection.
def closed_while_idle(connection):
    return bool(select.select([connection.sock], [], [], 0)[0])


def client(kind, interval, begin):
    global slowest
    connection = None
    at = begin
    while not os.path.exists("/tmp/stop"):
        at += interval
        time.sleep(max(0, at - time.monotonic()))
        # Like every connection pool, replace a connection that the server has closed before it is used. A request that
        # was sent is never sent again.
        if connection is not None and closed_while_idle(connection):
            connection.close()
            connection = None
            with lock:
                count["reopened"] += 1
        sent = time.monotonic()
        try:
            if connection is None:
                connection = http.client.HTTPConnection(HOST, 80, timeout=10)
            body, closes = ask(connection)
            with lock:
                count[kind] += 1
                bodies[body[:80]] += 1
            if kind == "fresh" or closes:
                connection.close()
                connection = None
        except Exception as error:
            with lock:
                count["failed"] += 1
                if len(failures) < 10:
                    failures.append("%s %s %s: %s" % (time.strftime("%H:%M:%S"), kind, type(error).__name__, error))
            if connection is not None:
                connection.close()
                connection = None
        with lock:
            slowest = max(slowest, time.monotonic() - sent)


begin = time.monotonic()
# Four clients of each kind, ten requests a second each, evenly spread.
threads = [
    threading.Thread(target=client, args=(kind, 0.1, begin + 0.0125 * (2 * n + k)))
    for n in range(4)
    for k, kind in enumerate(("kept", "fresh"))
]
for thread in threads:
    thread.start()
while not (count["kept"] and count["fresh"]) and not os.path.exists("/tmp/stop"):
    time.sleep(0.05)
open("/tmp/started", "w").close()
for thread in threads:
    thread.join()
print(json.dumps({
    "kept": count["kept"], "fresh": count["fresh"], "failed": count["failed"], "reopened": count["reopened"],
    "slowest": slowest, "seconds": time.monotonic() - begin, "failures": failures, "bodies": bodies,
}))
