// Every word of the page, both languages side by side, so that neither is forgotten. {name} is filled in by language.js.

export const LANGUAGES = { en: 'English', ja: '日本語' };

export const STRINGS = {
  'title': { en: 'spotter: find objects in a photo', ja: 'spotter：写真の中の物体を見つける' },
  'skip': { en: 'Skip to the photo', ja: '写真へ移動' },
  'lead': { en: 'Find objects in a photo', ja: '写真の中の物体を見つける' },
  'lead.more': {
    en: 'Your photo goes to this server only, and is not kept.',
    ja: '写真はこのサーバーにだけ送られ、保存されません。',
  },
  'docs': { en: 'API docs', ja: 'API 文書' },
  'language': { en: 'Language', ja: '言語' },

  'stage': { en: 'Photo', ja: '写真' },
  'drop.title': { en: 'Drop a photo here', ja: 'ここに写真をドロップ' },
  'drop.touch': { en: 'Choose or take a photo', ja: '写真を選ぶか撮影してください' },
  'drop.more': { en: 'or paste one with {keys}', ja: '{keys} で貼り付けもできます' },
  'drop.formats': {
    en: 'JPEG, PNG, WebP, GIF, BMP or TIFF; HEIC where the browser reads it.',
    ja: 'JPEG、PNG、WebP、GIF、BMP、TIFF に対応。HEIC はブラウザーが読める場合に使えます。',
  },
  'drop.now': { en: 'Let go to look at it', ja: '離すと検出を始めます' },
  'pick': { en: 'Choose a photo', ja: '写真を選ぶ' },
  'pick.other': { en: 'Another photo', ja: '別の写真' },
  'capture': { en: 'Take a photo', ja: '写真を撮る' },
  'webcam.start': { en: 'Webcam', ja: 'ウェブカメラ' },
  'webcam.stop': { en: 'Stop the webcam', ja: 'ウェブカメラを停止' },
  'webcam.camera': { en: 'Camera', ja: 'カメラ' },
  'webcam.live': { en: 'Live', ja: 'ライブ' },
  'webcam.rate': { en: '{rate} frames/s · {ms} ms each', ja: '毎秒 {rate} フレーム・1 フレーム {ms} ミリ秒' },
  'webcam.waiting': { en: '{why} · again in {seconds} s', ja: '{why}・{seconds} 秒後に再開します' },
  'webcam.starting': { en: 'Starting the camera …', ja: 'カメラを起動しています…' },
  'webcam.frame': { en: 'Webcam', ja: 'ウェブカメラの映像' },
  'example': { en: 'Try an example', ja: 'サンプルで試す' },
  'download': { en: 'Save picture', ja: '画像を保存' },

  'photo.alt': { en: 'Your photo {name}. {summary}', ja: '写真 {name}。{summary}' },
  'photo.converted': {
    en: 'Converted to JPEG in this browser, because the server does not read this format.',
    ja: 'サーバーが対応していない形式のため、ブラウザーで JPEG に変換しました。',
  },
  'photo.shrunk': { en: 'Made smaller in this browser: {width} × {height}.', ja: 'ブラウザーで縮小しました：{width} × {height}。' },
  'photo.of_server': {
    en: 'Shown as the server sees it, because this browser shows this file differently or not at all.',
    ja: 'このブラウザーでは正しく表示できないため、サーバーが読み取った画像を表示しています。',
  },
  'busy': { en: 'Looking …', ja: '検出しています…' },

  'detector': { en: 'Detector', ja: '検出器' },
  'model': { en: 'Model', ja: 'モデル' },
  'version': { en: 'Version', ja: 'バージョン' },
  'version.default': { en: 'default', ja: '既定' },
  'version.default_is': { en: 'default ({version})', ja: '既定（{version}）' },
  'score': { en: 'Least score', ja: 'スコアの下限' },
  'classes': { en: 'Classes', ja: 'クラス' },

  'found': { en: 'Found', ja: '検出結果' },
  'found.none_yet': { en: 'What is found in the photo is listed here.', ja: '見つかった物体がここに一覧表示されます。' },
  'found.nothing': {
    en: 'Nothing was found. Another photo, or one closer to the object, may help.',
    ja: '何も見つかりませんでした。別の写真や、物体に近づいた写真をお試しください。',
  },
  'found.hidden': {
    en: 'Nothing at this score. A lower one shows {count} more.',
    ja: 'このスコアでは何もありません。下げるとあと {count} 件表示されます。',
  },
  'found.count.one': { en: '{count} object', ja: '{count} 件' },
  'found.count.other': { en: '{count} objects', ja: '{count} 件' },
  'found.of': { en: '{shown} of {all}', ja: '{all} 件中 {shown} 件' },
  'found.summary': { en: '{count}: {list}.', ja: '{count}：{list}。' },
  'found.summary.none': { en: 'No object found.', ja: '物体は見つかりませんでした。' },
  'found.place': { en: 'x {x_min}–{x_max}, y {y_min}–{y_max}', ja: 'x {x_min}–{x_max}、y {y_min}–{y_max}' },
  'found.list': { en: 'Objects found; choose one to see its box', ja: '検出された物体。選ぶと枠が強調されます' },
  'timing': { en: '{model} {version} · {ms} ms on the server', ja: '{model} {version}・サーバーで {ms} ミリ秒' },

  'curl': { en: 'This request as curl', ja: 'このリクエスト（curl）' },
  'curl.more': { en: 'Answers exactly what is listed. Run it in the folder of the photo.', ja: '一覧と同じ結果が返ります。写真のあるフォルダーで実行してください。' },
  'curl.more.made': {
    en: 'Answers exactly what is listed, for the file that this browser sent: save it as {name} first.',
    ja: '一覧と同じ結果が返ります。先に、このブラウザーが送信したファイルを {name} として保存してください。',
  },
  'curl.save': { en: 'Save the file', ja: 'ファイルを保存' },
  'curl.key': { en: 'SPOTTER_KEY holds your API key.', ja: 'SPOTTER_KEY に API キーを入れておきます。' },
  'json': { en: 'The answer as JSON', ja: '応答（JSON）' },
  'copy': { en: 'Copy', ja: 'コピー' },
  'copied': { en: 'Copied', ja: 'コピーしました' },
  'not_copied': { en: 'Select the text and copy it', ja: 'テキストを選択してコピーしてください' },

  'key': { en: 'API key', ja: 'API キー' },
  'key.more': { en: 'This server asks for a key. It stays in this tab and is forgotten with it.', ja: 'このサーバーにはキーが必要です。キーはこのタブにだけ保持され、閉じると消えます。' },
  'key.refused': { en: 'The server did not accept this key.', ja: 'サーバーはこのキーを受け付けませんでした。' },
  'key.use': { en: 'Use this key', ja: 'このキーを使う' },
  'key.forget': { en: 'Forget the API key', ja: 'API キーを消去' },

  'problem.detail': { en: 'The server says', ja: 'サーバーからの説明' },
  'problem.id': { en: 'Request id', ja: 'リクエスト ID' },
  'problem.explained': { en: 'About this problem', ja: 'この問題について' },
  'problem.retry': { en: 'Try again', ja: 'もう一度試す' },
  'problem.shrink': { en: 'Make it smaller and try again', ja: '縮小してもう一度試す' },
  'problem.close': { en: 'Close', ja: '閉じる' },
  'problem.heic': {
    en: 'This browser cannot read HEIC. Open this page in Safari, or export the photo as JPEG; on an iPhone, Settings › Camera › Formats › Most Compatible takes JPEG from now on.',
    ja: 'このブラウザーは HEIC を読めません。Safari でこのページを開くか、写真を JPEG で書き出してください。iPhone では「設定 › カメラ › フォーマット › 互換性優先」にすると、以後 JPEG で撮影されます。',
  },
};

// What went wrong and what to do about it, in people's words: by the code of the server's problem, and the page's own.
export const PROBLEMS = {
  MISSING_IMAGE: {
    en: ['The file is empty', 'Choose a photo that can be opened on this device.'],
    ja: ['ファイルが空です', 'この端末で開ける写真を選んでください。'],
  },
  INVALID_BASE64: {
    en: ['The photo did not arrive whole', 'Try again.'],
    ja: ['写真が正しく届きませんでした', 'もう一度お試しください。'],
  },
  INVALID_JSON: {
    en: ['The request did not arrive whole', 'Try again.'],
    ja: ['リクエストが正しく届きませんでした', 'もう一度お試しください。'],
  },
  INVALID_MULTIPART: {
    en: ['The request did not arrive whole', 'Try again.'],
    ja: ['リクエストが正しく届きませんでした', 'もう一度お試しください。'],
  },
  INVALID_REQUEST: {
    en: ['The server cannot read the request', 'Reload the page and try again.'],
    ja: ['サーバーがリクエストを読み取れません', 'ページを再読み込みして、もう一度お試しください。'],
  },
  NOT_FOUND: {
    en: ['The server does not know this address', 'Reload the page: the server may have been updated.'],
    ja: ['サーバーにこのアドレスがありません', 'サーバーが更新された可能性があります。ページを再読み込みしてください。'],
  },
  UNKNOWN_MODEL: {
    en: ['This model is not served any more', 'Reload the page and choose another model.'],
    ja: ['このモデルは提供されていません', 'ページを再読み込みして、別のモデルを選んでください。'],
  },
  UNKNOWN_VERSION: {
    en: ['This version of the model is not loaded', 'Choose the default version.'],
    ja: ['このバージョンのモデルは読み込まれていません', '既定のバージョンを選んでください。'],
  },
  METHOD_NOT_ALLOWED: {
    en: ['The server does not take this request', 'Reload the page: the server may have been updated.'],
    ja: ['サーバーがこのリクエストを受け付けません', 'サーバーが更新された可能性があります。ページを再読み込みしてください。'],
  },
  NOT_ACCEPTABLE: {
    en: ['The server cannot answer in the form asked for', 'Reload the page: the server may have been updated.'],
    ja: ['サーバーが要求された形式で応答できません', 'サーバーが更新された可能性があります。ページを再読み込みしてください。'],
  },
  REQUEST_TIMEOUT: {
    en: ['The request took too long to begin', 'Check the connection and try again.'],
    ja: ['リクエストの開始に時間がかかりすぎました', '接続を確認して、もう一度お試しください。'],
  },
  UPLOAD_TIMEOUT: {
    en: ['The upload took too long', 'A smaller photo arrives sooner, as does one over a better connection.'],
    ja: ['アップロードに時間がかかりすぎました', '写真を小さくするか、より良い接続でお試しください。'],
  },
  PAYLOAD_TOO_LARGE: {
    en: ['The file is too large', 'A smaller copy does as well for the detector.'],
    ja: ['ファイルが大きすぎます', '縮小しても検出にはほとんど影響しません。'],
  },
  BATCH_TOO_LARGE: {
    en: ['Too many photos at once', 'Choose fewer photos.'],
    ja: ['一度に送る写真が多すぎます', '写真の枚数を減らしてください。'],
  },
  IMAGE_TOO_LARGE: {
    en: ['The photo has too many pixels', 'A smaller copy does as well for the detector.'],
    ja: ['写真のピクセル数が多すぎます', '縮小しても検出にはほとんど影響しません。'],
  },
  URI_TOO_LONG: {
    en: ['Too many settings at once', 'Switch on some of the classes that are switched off.'],
    ja: ['設定が多すぎます', 'オフにしたクラスの一部をオンに戻してください。'],
  },
  HEAD_TOO_LARGE: {
    en: ['The browser sends too much beside the request', 'Cookies of this address may be the reason: clear them, or open the page in a private window.'],
    ja: ['ブラウザーが余分なデータを送りすぎています', 'このアドレスの Cookie が原因かもしれません。削除するか、プライベートウィンドウで開いてください。'],
  },
  UNSUPPORTED_MEDIA_TYPE: {
    en: ['This is not a photo', 'Choose a JPEG, PNG, WebP, GIF, BMP or TIFF file.'],
    ja: ['写真ではありません', 'JPEG、PNG、WebP、GIF、BMP、TIFF のファイルを選んでください。'],
  },
  UNSUPPORTED_ENCODING: {
    en: ['The server cannot unpack what was sent', 'Something between the browser and the server may compress it. Try another network.'],
    ja: ['サーバーが受信データを展開できません', '途中の機器がデータを圧縮している可能性があります。別のネットワークでお試しください。'],
  },
  UNSUPPORTED_IMAGE_FORMAT: {
    en: ['This is not a photo that can be read', 'Choose a JPEG, PNG, WebP, GIF, BMP or TIFF file.'],
    ja: ['読み取れる写真ではありません', 'JPEG、PNG、WebP、GIF、BMP、TIFF のファイルを選んでください。'],
  },
  UNREADABLE_IMAGE: {
    en: ['The photo is damaged', 'It may have been cut off on its way. Copy or export it again.'],
    ja: ['写真が壊れています', '途中で途切れた可能性があります。もう一度コピーまたは書き出してください。'],
  },
  INVALID_OPTION: {
    en: ['The server refuses one of the settings', 'Reload the page and try again.'],
    ja: ['サーバーが設定の一つを受け付けません', 'ページを再読み込みして、もう一度お試しください。'],
  },
  IMAGE_URL_REFUSED: {
    en: ['The photo’s address may not be asked', 'Choose the photo itself.'],
    ja: ['写真のアドレスにはアクセスできません', '写真のファイルを選んでください。'],
  },
  IMAGE_URL_FAILED: {
    en: ['No photo came from the address', 'Check the address, or choose the photo itself.'],
    ja: ['アドレスから写真を取得できませんでした', 'アドレスを確認するか、写真のファイルを選んでください。'],
  },
  INTERNAL: {
    en: ['Something broke in the server', 'It is not your photo’s fault. Give the request id to whoever runs this server.'],
    ja: ['サーバー内部でエラーが起きました', '写真に問題はありません。リクエスト ID をサーバーの管理者にお知らせください。'],
  },
  MODEL_CONTRACT: {
    en: ['The model’s answer does not fit', 'Give the request id to whoever runs this server, or choose another model.'],
    ja: ['モデルの応答が正しくありません', 'リクエスト ID をサーバーの管理者に知らせるか、別のモデルを選んでください。'],
  },
  MODEL_UNAVAILABLE: {
    en: ['The model is not there at the moment', 'It may be starting. Try again in a few seconds.'],
    ja: ['モデルを現在利用できません', '起動中かもしれません。数秒後にもう一度お試しください。'],
  },
  OVERLOADED: {
    en: ['The server is busy', 'Try again in a few seconds.'],
    ja: ['サーバーが混み合っています', '数秒後にもう一度お試しください。'],
  },
  DRAINING: {
    en: ['The server is about to stop', 'Another one may take over. Try again in a few seconds.'],
    ja: ['サーバーが停止しようとしています', '別のサーバーに切り替わることがあります。数秒後にもう一度お試しください。'],
  },
  MODEL_DEADLINE: {
    en: ['The model took too long', 'Try again; if it happens again, whoever runs this server can give it more time.'],
    ja: ['モデルの応答に時間がかかりすぎました', 'もう一度お試しください。続く場合は、サーバーの管理者が時間を延ばせます。'],
  },
  DEADLINE_EXCEEDED: {
    en: ['The server ran out of time', 'It is busy. Try again, or with a smaller photo.'],
    ja: ['サーバーの処理時間が足りませんでした', '混み合っています。もう一度、または小さい写真でお試しください。'],
  },
  // The page's own.
  UNREACHABLE: {
    en: ['The server cannot be reached', 'Check the connection, and whether the server is running.'],
    ja: ['サーバーに接続できません', '接続と、サーバーが動いているかを確認してください。'],
  },
  UNEXPECTED: {
    en: ['The answer was not understood', 'Something between this page and the server may have answered in its place.'],
    ja: ['応答を理解できませんでした', 'サーバーとの間にある別の機器が応答した可能性があります。'],
  },
  RATE_LIMITED: {
    en: ['Too many photos in a short time', 'Wait a moment and try again.'],
    ja: ['短時間に送信が多すぎます', '少し待ってからもう一度お試しください。'],
  },
  UNAUTHORIZED: {
    en: ['An API key is needed', 'Enter it above.'],
    ja: ['API キーが必要です', '上の欄に入力してください。'],
  },
  NOT_A_FILE: {
    en: ['That was not a file', 'Save the picture first, then drop it or choose it here.'],
    ja: ['ファイルではありません', '画像を保存してから、ここにドロップするか選んでください。'],
  },
  NO_SHRINKING: {
    en: ['This browser cannot make the photo smaller', 'It cannot show this file. Export a smaller photo and try again.'],
    ja: ['このブラウザーでは写真を縮小できません', 'このファイルを表示できません。小さい写真を書き出して、もう一度お試しください。'],
  },
  NO_PICTURE: {
    en: ['This browser cannot make the picture', 'It may have too little memory. Close other pages, or use a smaller photo.'],
    ja: ['このブラウザーでは画像を作成できません', 'メモリーが不足している可能性があります。ほかのページを閉じるか、小さい写真をお使いください。'],
  },
  CAMERA_REFUSED: {
    en: ['The camera may not be used', 'Allow it for this page in the browser’s address bar, then try again.'],
    ja: ['カメラの使用が許可されていません', 'ブラウザーのアドレスバーでこのページに許可してから、もう一度お試しください。'],
  },
  NO_CAMERA: {
    en: ['No camera was found', 'Plug one in, or choose a photo instead.'],
    ja: ['カメラが見つかりません', 'カメラを接続するか、写真を選んでください。'],
  },
  CAMERA_BUSY: {
    en: ['The camera does not start', 'Another program may be using it. Close that one and try again.'],
    ja: ['カメラを起動できません', '別のアプリが使用中かもしれません。閉じてからもう一度お試しください。'],
  },
  CAMERA_NEEDS_HTTPS: {
    en: ['The camera needs a secure page', 'Browsers give the camera only to pages over https, or from this computer (localhost).'],
    ja: ['カメラには安全なページが必要です', 'ブラウザーがカメラを許可するのは、https のページか、この端末（localhost）のページだけです。'],
  },
};
