from decimal import Decimal

import pytest
from django.db import IntegrityError
from django.db.models import ProtectedError

from shop.models import Order, OutOfStock, Product


def test_category_with_products_cannot_be_deleted(assam):
    with pytest.raises(ProtectedError):
        assam.category.delete()


def test_price_must_be_positive(tea):
    with pytest.raises(IntegrityError):
        Product.objects.create(category=tea, name="Free", slug="free", price=Decimal(0))


def test_available_leaves_out_what_is_sold_out(assam, rooibos):
    assert list(Product.objects.available()) == [assam]


@pytest.mark.parametrize(("words", "count"), [("ass", 1), ("strong assam", 1), ("assam rooibos", 0), ("", 2)])
def test_search_wants_every_word(assam, rooibos, words, count):
    assert Product.objects.search(words).count() == count


def test_order_takes_out_of_stock_and_keeps_the_price(assam):
    order = Order.place("a@example.com", {assam: 2})
    assam.refresh_from_db()
    assert assam.stock == 3
    assam.price = Decimal("99")
    assam.save()
    assert order.total == Decimal("13.00")


def test_order_is_placed_whole_or_not_at_all(assam, rooibos):
    with pytest.raises(OutOfStock):
        Order.place("a@example.com", {assam: 1, rooibos: 1})
    assam.refresh_from_db()
    assert assam.stock == 5
    assert not Order.objects.exists()


def test_order_of_nothing_costs_nothing(db):
    assert Order.place("a@example.com", {}).total == 0
