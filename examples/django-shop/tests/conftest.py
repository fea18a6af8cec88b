from decimal import Decimal

import pytest

from shop.models import Category, Product


@pytest.fixture
def tea(db):
    return Category.objects.create(name="Tea", slug="tea")


@pytest.fixture
def assam(tea):
    return Product.objects.create(
        category=tea, name="Assam", slug="assam", description="Strong", price=Decimal("6.50"), stock=5
    )


@pytest.fixture
def rooibos(tea):
    return Product.objects.create(category=tea, name="Rooibos", slug="rooibos", price=Decimal("5.20"), stock=0)
