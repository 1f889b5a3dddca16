"""What ``AUG.AUTO_AUGMENT`` may say."""

from swin_train.errors import UserError


def unsupported(text: str, part: str) -> UserError:
    """What to say of a policy, and of the part of it that is not known."""
    return UserError(
        f"AUG.AUTO_AUGMENT is {text!r}: {part!r} is not supported. Known: none; rand followed by any of -mINT "
        "(magnitude), -nINT (operations), -mstdNUMBER, -mmaxINT, -pNUMBER (probability) and -inc0 or -inc1, each "
        "once, for example rand-m9-mstd0.5-inc1; original, originalr, v0 or v0r (AutoAugment), each with or without "
        "-mstdNUMBER; ta_wide (TrivialAugment); 3a (3-Augment)."
    )
