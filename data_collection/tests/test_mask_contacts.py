"""mask_contacts.py: telephone numbers and e-mail addresses are masked in eight languages; medical numbers stay."""

import pytest

from cleaning.mask_contacts import mask_emails, mask_phones

PHONES = [
    ("en", "Call (555) 234-5678 or 1-800-234-5678 now", "Call <PHONE> or <PHONE> now"),
    ("en", "Phone: +44 20 7946 0958.", "Phone: <PHONE>."),
    ("en", "the helpline +1 (212) 555-0134, 24 hours", "the helpline <PHONE>, 24 hours"),
    ("en", "Mobile no. 9876543210", "Mobile no. <PHONE>"),
    ("fr", "Tél. 01 42 34 56 78 ou 06.12.34.56.78", "Tél. <PHONE> ou <PHONE>"),
    ("fr", "appelez le 0142345678", "appelez le <PHONE>"),
    ("es", "Teléfono: 912 345 678", "Teléfono: <PHONE>"),
    ("es", "Llámenos: 912 34 56 78 o +34 612 345 678", "Llámenos: <PHONE> o <PHONE>"),
    ("de", "Tel.: (030) 1234 5678, Fax 030/1234567-89", "Tel.: <PHONE>, Fax <PHONE>"),
    ("de", "Praxis 0171 1234567", "Praxis <PHONE>"),
    ("de", "(+49) 30 1234567", "<PHONE>"),
    ("ru", "Телефон: 8 (495) 123-45-67, моб. 89161234567", "Телефон: <PHONE>, моб. <PHONE>"),
    ("ru", "звоните +7 495 123 45 67", "звоните <PHONE>"),
    ("zh", "电话：010-62345678，手机13812345678", "电话：<PHONE>，手机<PHONE>"),
    ("zh", "手机13812345678 单位：某某医院", "手机<PHONE> 单位：某某医院"),
    ("zh", "请拨打400-123-4567咨询", "请拨打<PHONE>咨询"),
    ("zh", "联系电话０１０－６２３４５６７８", "联系电话<PHONE>"),
    ("ja", "電話 03-1234-5678 まで。携帯は090-1234-5678です", "電話 <PHONE> まで。携帯は<PHONE>です"),
    ("ja", "電話番号：０３－１２３４－５６７８", "電話番号：<PHONE>"),
    ("ja", "お問い合わせ 0120-123-456", "お問い合わせ <PHONE>"),
    ("ar", "هاتف: ٠١٠١٢٣٤٥٦٧٨", "هاتف: <PHONE>"),
    ("ar", "اتصل على 0501234567 أو +966 50 123 4567", "اتصل على <PHONE> أو <PHONE>"),
    ("ar", "الهاتف 02-1234567", "الهاتف <PHONE>"),
]

NO_PHONES = [
    # doses, rates and laboratory values
    ("en", "500 mg 3 times, 1000-2000 mg/day, 5-10-20 mg, 10 000 000 IU, 9 772 784 IU/ml, 1,000,000 cells"),
    ("en", "Hb 12.5-13.5 g/dl, 150-400 x 10^9/l, 3000-8000/μL, pH 7.35-7.45, 120/80-130/85 mmHg, 1.12 (0.94-1.34)"),
    ("fr", "1 000 000 UI, 120 000 à 150 000 plaquettes, 9 772 784 copies, de 2 500 000 à 3 000 000"),
    ("es", "recuento celular 1500000, 1.500.000 UI, 250 000 plaquetas, 912 345 678 euros"),
    ("de", "1.000.000 I.E., 0,5-1,0 mg, 100-200-300 mg, Thrombozyten 250.000-300.000/µl"),
    ("ru", "1 000 000 ЕД, 150-200 мг, 120/80 мм рт. ст., лейкоциты 4000-9000, 8 000 000 000 рублей"),
    ("zh", "剂量100-200-300毫克，白细胞4000-10000，血小板１００００００，国药准字H20123456"),
    ("ja", "１回１００〜２００ｍｇ、白血球１２０００００、血小板 1500000、3000-5000-8000単位"),
    ("ar", "الجرعة ٥٠٠-١٠٠٠ ملغ، الصفائح ١٥٠٠٠٠٠، ضغط ١٢٠/٨٠، ١٫٢ (٠٫٩-١٫٤)"),
    ("en", "300-400-5000 mg, 200-300-4000 IU, variant call 1234567 reads"),
    ("en", "base call: 10000000 bp, mobile 1 000 000 cells"),
    ("fr", "doses 06 07 08 09 10 mg"),
    ("es", "600 100 200 300 UI, 912 34 56 78 mg"),
    ("de", "0123 45678 IE, 01234/56789 ml"),
    ("ru", "тел. 8 900 000-00-00 ЕД"),
    ("zh", "400-500-6000毫克"),
    ("ar", "٠١٠١٢٣٤٥٦٧٨ ملغ"),
    # dates, years, times
    ("en", "on 2020-01-15, 15.01.2020, 01/15/2020, 2020/01/15, 1998-2002, 2017-10-04 12:30, 01.04.2000-31.12.2000"),
    ("ru", "с 15.01.2020 по 20.02.2020, 1941–1945, 2013-2014-2015 годы"),
    ("zh", "2020-01-15至2020-02-20，1949-1978，２０２０－０１－１５"),
    ("ja", "2020-01-15、１９９８－２００２、令和2年01-15-2020"),
    ("ar", "٢٠٢٠-٠١-١٥ و ١٩٩٨-٢٠٠٢ و 15/01/2020"),
    ("de", "vom 01.02.2020 bis 03.04.2021, 2019-2020-2021"),
    ("de", "Tel. 15.01.2020, Telefon 2020-01-15 14:30"),
    # codes: PMID, DOI, ICD, trials, ISSN, ISBN, CAS, NDC, SNOMED, LOINC, exam numbers, variants
    ("en", "PMID: 31986264, PMC7159299, doi:10.1056/NEJMoa2001017, 10.1016/S0140-6736(20)30183-5, NCT04280705"),
    ("en", "ICD-10 A41.9, J44.1, C50-C58, rs1801133, NM_018122.4, ISSN 0140-6736, ISSN 1474-547X, CAS 50-78-2"),
    ("en", "ISBN 978-3-16-148410-0, NDC 0378-6150-01, 50242-040-62, SNOMED 73211009, LOINC 2345-7, 2001;345:1368-1377"),
    ("en", "192.168.100.200, version 10.15.7.1234567, $1234567, #12345678, ID 123456789012"),
    ("en", "lot B555-234-5678, gene X030/1234567, batch_555-234-5678"),
    ("ja", "112A12、第112回、問題番号 112-345-67、JAN 4901234567894"),
    ("zh", "身份证号码 110101199003071234 已隐去，病历号 20200115001，批准文号Z20123456"),
    ("es", "expediente 1234567/2020, ley 41/2002, 15-2020-1234567-8"),
    ("fr", "CIS 61266250, CIP 3400930000120, n° 1234567890123"),
    ("de", "PZN 01234567, Az. 2020-123-4567"),
    ("ru", "ОГРН 1027700132195, ИНН 7707083893, № 12345678"),
    ("ar", "رقم الملف 123456789012345678، 112A12"),
]


@pytest.mark.parametrize(("language", "text", "masked"), PHONES)
def test_telephone_numbers_are_masked(language, text, masked):
    assert mask_phones(text, language)[0] == masked
    assert mask_phones(text, language)[1] == masked.count("<PHONE>")
    assert mask_phones(masked, language) == (masked, 0)


@pytest.mark.parametrize(("language", "text"), NO_PHONES)
def test_other_numbers_stay(language, text):
    assert mask_phones(text, language) == (text, 0)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Write to anna.maria+lab@clinic-nord.example.org.", "Write to <EMAIL>."),
        ("邮箱doctor_1@example.cn。", "邮箱<EMAIL>。"),
        ("メールはinfo＠example.co.jpまで", "メールは<EMAIL>まで"),
        ("البريد: a@b.info، أو c@d.org", "البريد: <EMAIL>، أو <EMAIL>"),
        ("почта ivan@example.ru", "почта <EMAIL>"),
        ("a@b.com@c.com", "<EMAIL>@c.com"),
        ("@clinic follows @doctor", "@clinic follows @doctor"),
        ("5 mg @ 10.30, Ki-67@20x, user@localhost, @a.b", "5 mg @ 10.30, Ki-67@20x, user@localhost, @a.b"),
    ],
)
def test_email_addresses_are_masked(text, masked):
    assert mask_emails(text)[0] == masked
    assert mask_emails(masked) == (masked, 0)
