"""Reads what happens in chats from Parley's bus, as CloudEvents, and prints one
line for each. Put your CRM where it prints."""

import asyncio
import json
import os
import sys

import nats
from nats.errors import TimeoutError
from nats.js.api import AckPolicy, ConsumerConfig


async def main() -> None:
    creds = os.environ.get("NATS_CREDS")
    nc = await nats.connect(
        os.environ["NATS_URL"], name="crm-subscriber", inbox_prefix=b"_INBOX_crm", user_credentials=creds
    )
    js = nc.jetstream()
    # Durable: it goes on where it was, also after a restart.
    config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=256)
    sub = await js.pull_subscribe("evt.>", durable="crm-subscriber", stream="EVT", config=config)
    while True:
        try:
            messages = await sub.fetch(100, timeout=5)
        except TimeoutError:
            continue
        for m in messages:
            try:
                data, header = json.loads(m.data), m.headers or {}
                # Each comes at least once: write by a key, so that a repetition changes nothing.
                print(header.get("ce-time"), header.get("ce-type"), f"{data['site']}/{data['session']}",
                      "by", data.get("cause"), f"({header.get('ce-id')})", flush=True)
                await m.ack()
            except (ValueError, KeyError) as err:
                print("again later:", err, file=sys.stderr)
                await m.nak(delay=5)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
