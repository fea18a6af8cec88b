"""Models and views, on a PostgreSQL and a Redis as they are in use; the worker isn't needed."""

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command

from shop import queue
from shop.models import Order, OutOfStock, Product


@pytest.fixture(autouse=True)
def own_queue(monkeypatch):
    """A queue that no worker takes from."""
    monkeypatch.setattr(queue, "ORDERS", "orders of a test")
    yield
    queue.server().delete(queue.ORDERS)


@pytest.fixture
def assam(db):
    return Product.objects.create(name="Assam", price=Decimal("6.50"), stock=5)


def test_order_takes_out_of_stock_and_is_packed_once(assam):
    order = Order.place(assam, 2)
    assam.refresh_from_db()
    assert assam.stock == 3
    assert [Order.pack(order.pk), Order.pack(order.pk), Order.pack(-1)] == [True, False, False]


def test_order_of_too_many_is_refused(assam):
    with pytest.raises(OutOfStock):
        Order.place(assam, 6)
    assert not Order.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_order_waits_in_the_queue(client, assam):
    answer = client.post("/orders/", {"product": "Assam", "quantity": 2})
    assert (answer.status_code, answer.json()["packed"]) == (201, None)
    assert queue.take(1) == answer.json()["number"]
    assert client.get(f"/orders/{answer.json()['number']}/").json() == answer.json()


@pytest.mark.parametrize(("product", "quantity", "status"), [("Assam", 6, 409), ("Assam", "x", 400), ("Coffee", 1, 404)])
def test_what_cant_be_ordered_is_refused(client, assam, product, quantity, status):
    assert client.post("/orders/", {"product": product, "quantity": quantity}).status_code == status


def test_catalogue_says_who_showed_it(client, assam):
    page = client.get("/").content.decode()
    assert "Assam: 6.50 €, 5 in stock" in page and "This was workspace" not in page


def test_seed_fills_the_shop_once(db):
    for _ in range(2):
        call_command("seed", stdout=StringIO())
    assert Product.objects.count() == 4


def test_migrations_are_complete(db):
    call_command("makemigrations", "--check", "--dry-run", stdout=StringIO())
