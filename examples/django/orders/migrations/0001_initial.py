"""The table of orders; ``python manage.py makemigrations`` has written it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Make the table."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Order",
            fields=[
                ("number", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("item", models.CharField(max_length=200)),
                ("amount", models.PositiveIntegerField()),
            ],
            options={"ordering": ("number",)},
        ),
    )
