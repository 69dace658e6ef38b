"""A real single-node Kafka (KRaft) for tests, benchmarks and `./dev kafka`.

`fetch.libraries()` gets it from Maven's registry once, `Broker` runs it. Nothing of the product needs this package.
"""

from tests.support.kafka.broker import Broker, BrokerError
from tests.support.kafka.fetch import FetchError, libraries

__all__ = ["Broker", "BrokerError", "FetchError", "libraries"]
