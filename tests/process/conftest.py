import pytest

from tests.process.product import Product


@pytest.fixture
def product(data_dir):
    running = Product(data_dir)
    yield running
    running.stop()
